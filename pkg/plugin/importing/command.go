// SPDX-License-Identifier: Apache-2.0

package importing

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/input"
	"github.com/securevalue/secret-apiserver/pkg/plugin/write"
)

const long = `Make secure values of core Secrets, of the files of a folder, or of a .env file. All of them get the same decrypters.

Each key of a Secret becomes one secure value, SECRET-KEY; each file and each variable becomes one of its own name. Names are put in
lower case, with "-" for "_" and "/". --map gives a name of its own to an origin (SECRET/KEY, a file, a variable), or leaves it out.

Only what does not exist is created, and nothing is changed or deleted, the Secrets neither: a run that broke off is run again. The
report has a line for each origin. What cannot be imported is skipped: no UTF-8, empty, longer than 24576 bytes, a name that is none,
or one that two origins would have. Secrets that a program makes for itself (ServiceAccount tokens, Helm releases, bootstrap tokens) are
left out. The exit code is 1 when something was skipped.

A .env file has lines NAME=VALUE, with "export" before them or not, and comments that begin with #. A value in single quotes is taken
as it is; in double quotes \n, \r, \t, \", \\ and \$ are escapes; both may go over several lines. Variables are not expanded. A line
that programs read in different ways is refused.`

const example = `  # What would become of the Secrets of an application?
  kubectl securevalue import --from-secrets -l app=shop --decrypter k6-cloud --dry-run

  # Do it, with a name for one key and without another.
  kubectl securevalue import --from-secrets -l app=shop --decrypter k6-cloud --map db/password=shop-db --map db/username=

  # From a cluster into another server.
  kubectl securevalue import --from-secrets --all --source-context old-cluster --source-namespace shop --decrypter k6-cloud

  # Files, and a .env file.
  kubectl securevalue import --from-dir ./secrets --trim-newline --decrypter synthetic-monitoring
  kubectl securevalue import --from-env-file .env --decrypter synthetic-monitoring -d "From the old setup"`

// options are the flags of import.
type options struct {
	factory, source *cluster.Factory
	secrets, all    bool
	selector        string
	dir, envFile    string
	maps            []string
	trimNewline     bool
	output          string
	importer        importer
}

// New returns the command import.
func New(factory *cluster.Factory) *cobra.Command {
	o := &options{factory: factory, source: cluster.New(factory.IOStreams)}
	command := &cobra.Command{
		Use:               "import {--from-secrets | --from-dir DIR | --from-env-file FILE} --decrypter SERVICE...",
		Short:             "Make secure values of core Secrets, files or a .env file",
		Long:              long,
		Example:           example,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context()) },
	}
	o.addFlags(command.Flags())
	_ = command.MarkFlagDirname("from-dir")                                         // the flags are defined above
	_ = command.RegisterFlagCompletionFunc("decrypter", factory.CompleteDecrypters) // as this one
	return command
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("import takes no arguments: select Secrets with -l, and name values with --map")
	}
	return nil
}

func (o *options) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.secrets, "from-secrets", false, "Import core Secrets: those that -l selects, or --all of the namespace.")
	fs.StringVarP(&o.selector, "selector", "l", "", "Label `selector` of the Secrets.")
	fs.BoolVar(&o.all, "all", false, "Import all Secrets of the namespace.")
	o.source.AddSourceFlags(fs)
	fs.StringVar(&o.dir, "from-dir", "", "Import each file of this `folder`, but for hidden ones.")
	fs.StringVar(&o.envFile, "from-env-file", "", "Import each variable of this `file`.")
	fs.BoolVar(&o.trimNewline, "trim-newline", false, "Cut one newline off the end of each file of --from-dir.")
	fs.StringArrayVar(&o.maps, "map", nil, "Name for one origin, as `ORIGIN=NAME`; ORIGIN= leaves it out. May be repeated.")
	fs.StringVarP(&o.importer.description, "description", "d", "imported", "What the values are for: 1 to 25 characters.")
	fs.StringSliceVar(&o.importer.decrypters, "decrypter", nil, "A `service` that may open the values. May be repeated, up to 64 times. Required.")
	fs.StringToStringVar(&o.importer.labels, "labels", nil, "Labels of the secure values, as `KEY=VALUE`. May be repeated.")
	fs.StringVarP(&o.output, "output", "o", "table", "Form of the report: table or json.")
	write.AddDryRun(fs, &o.importer.dryRun)
}

func (o *options) validate() error {
	var errs []error
	given := 0
	for _, is := range []bool{o.secrets, o.dir != "", o.envFile != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		errs = append(errs, errors.New("give one of --from-secrets, --from-dir and --from-env-file"))
	}
	if o.secrets == (o.selector == "" && !o.all) || (o.selector != "" && o.all) {
		errs = append(errs, errors.New("--from-secrets takes either -l SELECTOR or --all, and they have a meaning with it only"))
	}
	if _, err := labels.Parse(o.selector); err != nil {
		errs = append(errs, fmt.Errorf("-l: %w", err))
	}
	if o.trimNewline && o.dir == "" {
		errs = append(errs, errors.New("--trim-newline has a meaning only with --from-dir"))
	}
	if len(o.importer.decrypters) == 0 {
		errs = append(errs, errors.New("--decrypter is missing: without it nobody could open the values, and a service joins the list later only together with a new value"))
	}
	// What all values share is checked once, with a name that is good.
	sample := &v1beta1.SecureValue{Spec: v1beta1.SecureValueSpec{Description: o.importer.description, Decrypters: o.importer.decrypters}}
	sample.Namespace, sample.Name, sample.Labels = "default", "sample", o.importer.labels
	return errors.Join(append(errs, write.Faults(sample), write.ValidateDryRun(o.importer.dryRun))...)
}

func (o *options) run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	show, err := printer(o.output)
	if err != nil {
		return err
	}
	names, err := newMapping(o.maps)
	if err != nil {
		return err
	}
	entries, err := o.entries(ctx)
	if err != nil {
		return err
	}
	if err := names.apply(entries); err != nil {
		return err
	}
	if o.importer.client, _, err = o.factory.SecureValues(); err != nil {
		return err
	}
	done, err := o.importer.run(ctx, entries, cli.New(o.factory.ErrOut, cli.Values))
	if printErr := show(o.factory.Out, done); err == nil {
		err = printErr
	}
	if skipped := done.count(resultSkipped); err == nil && skipped > 0 {
		err = fmt.Errorf("%d were skipped, the report says why", skipped)
	}
	return err
}

// entries reads the source.
func (o *options) entries(ctx context.Context) ([]entry, error) {
	switch {
	case o.dir != "":
		o.importer.kind = "file"
		entries, err := fromFolder(o.dir)
		for i := range entries {
			if o.trimNewline {
				entries[i].value = input.TrimNewline(entries[i].value)
			}
		}
		return entries, err
	case o.envFile != "":
		o.importer.kind = "variable"
		return fromEnvFile(o.envFile)
	}
	o.importer.kind = "secret"
	source := o.factory.Or(o.source)
	namespace, err := source.Namespace()
	if err != nil {
		return nil, err
	}
	clients, err := source.Kubernetes()
	if err != nil {
		return nil, err
	}
	return fromSecrets(ctx, clients.CoreV1().Secrets(namespace), o.selector)
}
