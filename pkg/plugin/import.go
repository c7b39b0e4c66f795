// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

// annotationOrigin is where an imported value came from: secret/NAME/KEY, file/NAME or variable/NAME.
const annotationOrigin = "secret.grafana.app/imported-from"

const importLong = `Create secure values from core Secrets, from the files of a directory or from a .env file. All of
them get the same decrypters.

Each key of a Secret becomes a secure value named SECRET-KEY; each file and each variable becomes one of the same name.
Names are lowercased, with "-" for "_" and "/". --map renames an origin (SECRET/KEY, a file, a variable) or leaves it
out.

Only what does not exist is created; nothing is changed or deleted, including the Secrets, so an interrupted import can
be repeated. The report has a line for each origin. Skipped are values that are not UTF-8, empty or longer than 24576
bytes, invalid names, and names that two origins would share. Left out are Secrets that a program creates for itself
(ServiceAccount tokens, Helm releases, bootstrap tokens). The exit code is 1 if something was skipped.

A .env file has lines NAME=VALUE, optionally after "export", and comments that begin with #. A value in single quotes is
taken literally; in double quotes \n, \r, \t, \", \\ and \$ are escapes; both may span lines. Variables are not
expanded. A line that programs interpret differently is refused.`

const importExample = `  # Preview the import of an application's Secrets.
  kubectl securevalue import --from-secrets -l app=shop --decrypter k6-cloud --dry-run

  # Import them, with another name for one key and without another key.
  kubectl securevalue import --from-secrets -l app=shop --decrypter k6-cloud \
    --map db/password=shop-db --map db/username=

  # From a cluster into another server.
  kubectl securevalue import --from-secrets --all --decrypter k6-cloud \
    --source-context old-cluster --source-namespace shop

  # Files, and a .env file.
  kubectl securevalue import --from-dir ./secrets --trim-newline --decrypter synthetic-monitoring
  kubectl securevalue import --from-env-file .env --decrypter synthetic-monitoring -d "From the old setup"`

// Results of an entry.
const (
	resultImported   = "imported"
	resultImportable = "would be imported" // in a dry run
	resultExists     = "exists"
	resultLeftOut    = "left out"
	resultSkipped    = "skipped"
)

// importResult is a line of the report.
type importResult struct {
	Origin string `json:"origin"`
	Name   string `json:"name,omitempty"`
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
}

// importReport is what import prints. It contains no value.
type importReport struct {
	Results []importResult `json:"results"`
	DryRun  bool           `json:"dryRun,omitempty"`
}

// importer creates secure values from entries.
type importer struct {
	*factory
	source       *factory
	secrets, all bool
	selector     string
	dir, envFile string
	maps         []string
	trimNewline  bool
	output       cli.Output
	dryRun       dryRun
	// template has what all values share.
	template v1beta1.SecureValue
	client   typedv1beta1.SecureValueInterface
}

func newImport(f *factory) *cobra.Command {
	i := &importer{factory: f, source: newFactory(f.IOStreams)}
	c := noArgs(&cobra.Command{
		Use:     "import {--from-secrets | --from-dir DIR | --from-env-file FILE} --decrypter SERVICE...",
		Short:   "Create secure values from core Secrets, files or a .env file",
		Long:    importLong,
		Example: importExample,
	}, i.run)
	fs, spec := c.Flags(), &i.template.Spec
	fs.BoolVar(&i.secrets, "from-secrets", false,
		"Import core Secrets: those selected by -l, or --all of the namespace.")
	fs.StringVarP(&i.selector, "selector", "l", "", "Label `selector` of the Secrets.")
	fs.BoolVar(&i.all, "all", false, "Import all Secrets of the namespace.")
	i.source.addSourceFlags(fs)
	fs.StringVar(&i.dir, "from-dir", "", "Import each file of this `directory`, except hidden ones.")
	fs.StringVar(&i.envFile, "from-env-file", "", "Import each variable of this `file`.")
	fs.BoolVar(&i.trimNewline, "trim-newline", false, "Remove one trailing newline from each file of --from-dir.")
	fs.StringArrayVar(&i.maps, "map", nil,
		"Name for one origin, as `ORIGIN=NAME`; ORIGIN= leaves it out. May be repeated.")
	fs.StringVarP(&spec.Description, "description", "d", "imported", "Description of the values, 1 to 25 characters.")
	fs.StringSliceVar(&spec.Decrypters, "decrypter", nil,
		"Name of a `service` that may open the values. May be repeated, up to 64 times. Required.")
	fs.StringToStringVar(&i.template.Labels, "labels", nil,
		"Labels of the secure values, as `KEY=VALUE`. May be repeated.")
	i.output.AddFlag(fs, "table", "json")
	i.dryRun.addFlag(fs)
	_ = c.MarkFlagDirname("from-dir") // defined above
	f.completeDecrypters(c)
	return c
}

func (i *importer) validate() error {
	errs := []error{i.output.Validate()}
	origins := 0
	for _, given := range []bool{i.secrets, i.dir != "", i.envFile != ""} {
		if given {
			origins++
		}
	}
	if origins != 1 {
		errs = append(errs, errors.New("expected one of --from-secrets, --from-dir and --from-env-file"))
	}
	if i.secrets == (i.selector == "" && !i.all) || (i.selector != "" && i.all) {
		errs = append(errs, errors.New("--from-secrets requires either -l SELECTOR or --all, and they require it"))
	}
	if _, err := labels.Parse(i.selector); err != nil {
		errs = append(errs, fmt.Errorf("-l: %w", err))
	}
	if i.trimNewline && i.dir == "" {
		errs = append(errs, errors.New("--trim-newline requires --from-dir"))
	}
	if len(i.template.Spec.Decrypters) == 0 {
		errs = append(errs, errors.New("--decrypter is missing: without it nobody could open the values, "+
			"and adding a service later requires a new value"))
	}
	// What all values share is checked once, with a valid name.
	sample := i.template.DeepCopy()
	sample.Namespace, sample.Name = metav1.NamespaceDefault, "sample"
	return errors.Join(append(errs, checkObject(sample), i.dryRun.validate())...)
}

func (i *importer) run(ctx context.Context) error {
	if err := i.validate(); err != nil {
		return err
	}
	names, err := parseMaps(i.maps)
	if err != nil {
		return err
	}
	entries, err := i.entries(ctx)
	if err != nil {
		return err
	}
	if err := applyNames(names, entries); err != nil {
		return err
	}
	if i.client, _, err = i.secureValues(); err != nil {
		return err
	}
	report, err := i.importAll(ctx, entries)
	if printErr := i.output.Print(i.Out, report, report.table); err == nil {
		err = printErr
	}
	if skipped := report.count(resultSkipped); err == nil && skipped > 0 {
		err = fmt.Errorf("%d skipped, see the report", skipped)
	}
	return err
}

// importAll imports the entries in order and stops at the first failed request; the report has what was done before it.
func (i *importer) importAll(ctx context.Context, entries []entry) (importReport, error) {
	bar := cli.New(i.ErrOut, cli.Values)
	defer bar.End()
	report := importReport{Results: []importResult{}, DryRun: i.dryRun.server()}
	for n := range entries {
		bar.Set(int64(n), int64(len(entries)))
		e := &entries[n]
		result, reason, err := i.importOne(ctx, e)
		if err != nil {
			return report, fmt.Errorf("%w; %d of %d done, run the command again to continue",
				apiError("importing "+e.origin, err), n, len(entries))
		}
		report.Results = append(report.Results, importResult{e.origin, e.name, result, reason})
	}
	bar.Set(int64(len(entries)), int64(len(entries)))
	return report, nil
}

func (i *importer) importOne(ctx context.Context, e *entry) (result, reason string, err error) {
	if e.leftOut != "" {
		return resultLeftOut, e.leftOut, nil
	}
	sv := i.template.DeepCopy()
	sv.Name, sv.Annotations = e.name, map[string]string{annotationOrigin: e.kind + "/" + e.origin}
	if err := e.check(sv); err != nil {
		return resultSkipped, strings.ReplaceAll(err.Error(), "\n", "; "), nil
	}
	sv.Spec.Value = &e.value
	_, err = i.client.Create(ctx, sv, i.dryRun.createOptions())
	switch {
	case apierrors.IsAlreadyExists(err):
		return resultExists, i.existing(ctx, sv), nil
	case i.dryRun.server():
		return resultImportable, "", err
	}
	return resultImported, "", err
}

// existing distinguishes a value that an earlier run imported from an unrelated one.
func (i *importer) existing(ctx context.Context, sv *v1beta1.SecureValue) string {
	stored, err := i.client.Get(ctx, sv.Name, metav1.GetOptions{})
	switch {
	case err != nil:
		return "unchanged"
	case stored.Annotations[annotationOrigin] == sv.Annotations[annotationOrigin]:
		return "imported before"
	default:
		return "has another origin, unchanged"
	}
}

func (r *importReport) count(result string) int {
	n := 0
	for i := range r.Results {
		if r.Results[i].Result == result {
			n++
		}
	}
	return n
}

func (r *importReport) table() string {
	rows := [][]string{{"ORIGIN", "NAME", "RESULT"}}
	for _, line := range r.Results {
		text := line.Result
		if line.Reason != "" {
			text += ": " + line.Reason
		}
		rows = append(rows, []string{line.Origin, cmp.Or(line.Name, "-"), text})
	}
	done, end := resultImported, ""
	if r.DryRun {
		done, end = resultImportable, " (server dry run)"
	}
	return cli.Table(rows) + fmt.Sprintf("%d %s, %d existed, %d left out, %d skipped%s\n",
		r.count(done), done, r.count(resultExists), r.count(resultLeftOut), r.count(resultSkipped), end)
}
