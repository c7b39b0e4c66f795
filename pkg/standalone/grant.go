// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

const grantLong = `Let a service of a standalone server decrypt the values of a namespace that list a decrypter. It
gets a token, in tokens.csv of the data folder, and the two permissions that a decrypter needs, in its folder rbac. The
server reads both within seconds. It must run without --token-auth-file and --rbac-dir, or with these two paths.

A service keeps the tokens that it has: a second call adds permissions, and a new name in --token-file adds a token.`

const grantExample = `  # The service checkout may decrypt what lists checkout in spec.decrypters.
  secret-apiserver grant checkout --decrypter checkout --namespace shop --data-dir ./data`

const revokeLong = `Take back what grant gave to a service: one decrypter in one namespace with --decrypter and
--namespace, or everything, its tokens included.`

const revokeExample = `  secret-apiserver revoke checkout --data-dir ./data`

// grant is what a service may do, and where its token is.
type grant struct {
	dir                           string
	service, decrypter, namespace string
	tokenFile                     string
}

// NewGrantCommand returns the command grant.
func NewGrantCommand() *cobra.Command {
	var g grant
	command := cli.NewCommand("grant SERVICE", "Let a service decrypt values of a standalone server", grantLong,
		grantExample, func(command *cobra.Command) error { return g.add(command.OutOrStdout()) })
	g.addFlags(command)
	command.Flags().StringVar(&g.tokenFile, "token-file", "",
		"File for the token, created with mode 0600. One that exists has the service's token. (default "+
			"tokens/SERVICE.token in --data-dir)")
	return command
}

// NewRevokeCommand returns the command revoke.
func NewRevokeCommand() *cobra.Command {
	var g grant
	command := cli.NewCommand("revoke SERVICE", "Take back what grant gave to a service", revokeLong, revokeExample,
		func(command *cobra.Command) error { return g.remove(command.OutOrStdout()) })
	g.addFlags(command)
	return command
}

func (g *grant) addFlags(command *cobra.Command) {
	fs := command.Flags()
	fs.StringVar(&g.dir, "data-dir", "./data", "Data folder of the standalone server, which may run.")
	fs.StringVar(&g.decrypter, "decrypter", "", "Name in spec.decrypters of the values.")
	fs.StringVar(&g.namespace, "namespace", "", "Namespace of the values.")
	command.Args = cobra.ExactArgs(1)
	run := command.RunE
	command.RunE = func(command *cobra.Command, args []string) error {
		g.service = args[0]
		return run(command, args)
	}
}

func (g *grant) validate() error {
	var errs []error
	if faults := validation.IsDNS1123Label(g.service); len(faults) > 0 {
		errs = append(errs, fmt.Errorf("SERVICE %q: %s", g.service, faults[0]))
	}
	if g.service == adminUser {
		errs = append(errs, errors.New("SERVICE: "+adminUser+" is the administrator, who must not decrypt"))
	}
	if faults := validation.IsValidLabelValue(g.decrypter); len(faults) > 0 {
		errs = append(errs, fmt.Errorf("--decrypter %q: %s", g.decrypter, faults[0]))
	}
	if faults := validation.IsDNS1123Label(g.namespace); g.namespace != "" && len(faults) > 0 {
		errs = append(errs, fmt.Errorf("--namespace %q: %s", g.namespace, faults[0]))
	}
	return cli.UsageError(errs...)
}

// lock makes the folder of manifests and waits for another grant or revoke. It returns an error for any other folder
// than a data folder.
func (g *grant) lock() (unlock func(), err error) {
	if _, err := os.Stat(filepath.Join(g.dir, "admin-token.sha256")); err != nil {
		return nil, fmt.Errorf("--data-dir: %s is not the data folder of a standalone server, or was never started: %w",
			g.dir, err)
	}
	if err := makeDir(RBACDir(g.dir)); err != nil {
		return nil, err
	}
	lock, err := fileutil.LockFile(filepath.Join(RBACDir(g.dir), ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", RBACDir(g.dir), err)
	}
	return func() { _ = lock.Close() }, nil
}

func (g *grant) add(out io.Writer) error {
	missing := []error{cli.Required("decrypter", g.decrypter), cli.Required("namespace", g.namespace)}
	if err := errors.Join(cli.UsageError(missing...), g.validate()); err != nil {
		return err
	}
	unlock, err := g.lock()
	if err != nil {
		return err
	}
	defer unlock()
	file, err := g.giveToken()
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(g.manifest(), []byte(g.role())); err != nil {
		return err
	}
	ca := filepath.Join(g.dir, "pki", "ca.crt")
	_, err = fmt.Fprintf(out, grantedText, g.service, g.namespace, g.decrypter, file, ca)
	if err == nil && !slices.Contains(secret.DefaultDecrypters(), g.decrypter) {
		_, err = fmt.Fprintf(out, "\nValues may list %s only while --allowed-decrypters of the server has it.\n",
			g.decrypter)
	}
	return err
}

const grantedText = `%[1]s may decrypt values of namespace %[2]s that list %[3]s, within three seconds.
Its token is in %[4]s. The port is that of the banner:

  curl --cacert %[5]s -H "Authorization: Bearer $(cat %[4]s)" -H 'Accept: text/plain' \
    https://127.0.0.1:8444/decrypt/v1/namespaces/%[2]s/secrets/NAME/decrypt
`

// manifest is the file of one grant.
func (g *grant) manifest() string {
	return filepath.Join(RBACDir(g.dir), fmt.Sprintf("%s.%s.%s.yaml", g.namespace, g.service, g.decrypter))
}

func (g *grant) role() string {
	return fmt.Sprintf(`# Written by: secret-apiserver grant %[1]s --decrypter %[2]s --namespace %[3]s
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: "%[1]s-decrypts-%[2]s", namespace: "%[3]s"}
rules:
  - {apiGroups: [secret.grafana.app], resources: [securevalues], verbs: [decrypt]}
  - {apiGroups: [secret.grafana.app], resources: [decrypters], resourceNames: ["%[2]s"], verbs: [use]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: "%[1]s-decrypts-%[2]s", namespace: "%[3]s"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: "%[1]s-decrypts-%[2]s"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "%[1]s"}]
`, g.service, g.decrypter, g.namespace)
}

func (g *grant) remove(out io.Writer) error {
	if (g.decrypter == "") != (g.namespace == "") {
		return cli.UsageError(errors.New("--decrypter and --namespace go together"))
	}
	if err := g.validate(); err != nil {
		return err
	}
	unlock, err := g.lock()
	if err != nil {
		return err
	}
	defer unlock()
	grants, err := g.grants()
	if err != nil {
		return err
	}
	for _, one := range grants {
		if err := os.Remove(one.manifest()); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s may no longer decrypt what lists %s in namespace %s\n", one.service,
			one.decrypter, one.namespace); err != nil {
			return err
		}
	}
	tokens := 0
	if g.decrypter == "" {
		if tokens, err = g.takeTokens(); err != nil {
			return err
		}
	}
	if len(grants)+tokens == 0 {
		return fmt.Errorf("%s has no such grant in %s", g.service, g.dir)
	}
	_, err = fmt.Fprintf(out, "%d of its tokens removed; the server follows within three seconds\n", tokens)
	return err
}

// grants returns those of the service, or the one that the flags name. A manifest that grant did not write is an error.
func (g *grant) grants() ([]grant, error) {
	entries, err := os.ReadDir(RBACDir(g.dir))
	if err != nil {
		return nil, err
	}
	var found []grant
	for _, entry := range entries {
		parts := strings.SplitN(strings.TrimSuffix(entry.Name(), ".yaml"), ".", 3) // only a decrypter has dots
		if len(parts) != 3 || parts[1] != g.service {
			continue
		}
		one := grant{dir: g.dir, namespace: parts[0], service: parts[1], decrypter: parts[2]}
		if g.decrypter != "" && (one.decrypter != g.decrypter || one.namespace != g.namespace) {
			continue
		}
		text, err := os.ReadFile(one.manifest())
		if err != nil {
			return nil, err
		}
		if string(text) != one.role() {
			return nil, fmt.Errorf("%s was changed by hand: remove it yourself", one.manifest())
		}
		found = append(found, one)
	}
	return found, nil
}
