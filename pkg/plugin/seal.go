// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

const sealLong = `Encrypt the values of manifests to a key of the server, so that the manifests may stand in Git.

Every SecureValue with a spec.value gets a spec.sealedValue instead. Comments, order and everything else stay, and so do
other objects. Only the server can open the text, and only for the same namespace, name and decrypters; nobody can seal
it for others without the value. A manifest without a namespace gets that of -n or of the kubeconfig.

The public key comes from the server, or from --public-key: then nothing is sent and no cluster is needed. Compare the
fingerprint that is printed once, or keep the key in Git: whoever hands out another key reads what is sealed with it.`

const sealExample = `  # Print the manifest with its value sealed.
  kubectl securevalue seal -f api-key.yaml

  # Change files in place; the texts expire in 90 days.
  kubectl securevalue seal -f api-key.yaml -f db.yaml --write --not-after 90d

  # In a CI job without a cluster, with a key that was saved before.
  kubectl get sealingkeys -o jsonpath='{.items[?(@.status.active==true)].spec.publicKey}' >sealing.pub
  kubectl kustomize . | kubectl securevalue seal -f - --public-key sealing.pub`

// maxKeyFile is the largest file that may hold a public key, in bytes.
const maxKeyFile = 64 << 10

// sealer seals values to one key.
type sealer struct {
	*factory
	files     files
	publicKey string
	notAfter  string
	// key and expires are set by prepare.
	key     *sealing.PublicKey
	expires time.Time
	sealed  []*manifest
}

func newSeal(f *factory) *cobra.Command {
	s := &sealer{factory: f}
	c := noArgs(&cobra.Command{
		Use:     "seal -f FILE...",
		Short:   "Encrypt the values of manifests, so that they may stand in Git",
		Long:    sealLong,
		Example: sealExample,
	}, s.run)
	s.files.addFlags(c, true)
	s.addFlags(c.Flags())
	return c
}

// addFlags adds what all commands that seal have.
func (s *sealer) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.publicKey, "public-key", "",
		"Path of a `file` with the public key in base64, spec.publicKey of a SealingKey. Default: ask the server.")
	fs.StringVar(&s.notAfter, "not-after", "",
		"`Time` until which the server accepts the text, a date (2027-01-31T00:00:00Z) or a duration (90d, 12h). "+
			"Default: for ever.")
}

func (s *sealer) run(ctx context.Context) error {
	if err := s.files.validate(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.files.edit(s.In, s.Out, s.seal); err != nil {
		return err
	}
	for _, m := range s.sealed {
		if m.remains() {
			const note = "note: %s: the value, or a line of it, also stands elsewhere in the document\n"
			fmt.Fprintf(s.ErrOut, note, m.at) //nolint:errcheck // a note
		}
	}
	_, err := fmt.Fprintf(s.ErrOut, "values sealed: %d\n", len(s.sealed))
	return err
}

// prepare reads the flags and the key, and prints the fingerprint.
func (s *sealer) prepare(ctx context.Context) (err error) {
	if s.expires, err = parseNotAfter(s.notAfter, time.Now()); err != nil {
		return err
	}
	if s.key, err = s.readKey(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.ErrOut, "sealing key %s, %s\n", s.key.ID(), s.key.Fingerprint())
	return err
}

func (s *sealer) readKey(ctx context.Context) (*sealing.PublicKey, error) {
	if s.publicKey == "" {
		client, err := newClient(s.factory, typedv1beta1.NewForConfig)
		if err != nil {
			return nil, err
		}
		return activeKey(ctx, client)
	}
	info, err := os.Stat(s.publicKey)
	if err == nil && info.Size() > maxKeyFile {
		err = errors.New("not a public key: the file is too large")
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(s.publicKey)
	}
	if err != nil {
		return nil, fmt.Errorf("--public-key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errors.New("--public-key: expected spec.publicKey of a SealingKey, in base64")
	}
	key, err := sealing.ParsePublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("--public-key: %w", err)
	}
	return key, nil
}

// seal replaces the value of a manifest.
func (s *sealer) seal(m *manifest) error {
	_, metadata := fieldOf(m.node, "metadata")
	_, spec := fieldOf(m.node, "spec")
	if m.Spec.Value == nil {
		return nil
	}
	if both, _ := fieldOf(spec, "sealedValue"); both != nil {
		return errors.New("spec.value and spec.sealedValue are both set: remove the one that is out of date")
	}
	written := m.Metadata.Namespace
	if err := s.setNamespace(m); err != nil {
		return err
	}
	if err := errors.Join(m.check(), checkValue(*m.Spec.Value)); err != nil {
		return err
	}
	text, err := s.sealFor(m.Metadata.Namespace, m.Metadata.Name, m.Spec.Decrypters, *m.Spec.Value)
	if err != nil {
		return err
	}
	if written == "" {
		if err := m.text.insertAfter(metadata, "name", "namespace", m.Metadata.Namespace); err != nil {
			return err
		}
		const note = "note: %s: added metadata.namespace %s, which the text is sealed for\n"
		fmt.Fprintf(s.ErrOut, note, m.at, m.Metadata.Namespace) //nolint:errcheck // a note
	}
	s.sealed = append(s.sealed, m)
	return m.text.replace(spec, "value", "sealedValue", text)
}

func (s *sealer) sealFor(namespace, name string, decrypters []string, value sensitive.Value) (string, error) {
	return s.key.Seal([]byte(value.Expose()), sealing.Binding{Namespace: namespace, Name: name, Decrypters: decrypters,
		NotAfter: s.expires})
}

// setNamespace sets the namespace of a manifest without one. As for kubectl apply, -n must not name another one.
func (f *factory) setNamespace(m *manifest) error {
	if m.Metadata.Namespace == "" {
		namespace, err := f.currentNamespace()
		m.Metadata.Namespace = namespace
		return err
	}
	if given := *f.flags.Namespace; given != "" && given != m.Metadata.Namespace {
		return fmt.Errorf("metadata.namespace is %q, --namespace is %q: omit the flag", m.Metadata.Namespace, given)
	}
	return nil
}

// remains reports whether a line of the value that is too long to be there by chance is in the changed document.
func (m *manifest) remains() bool {
	const chance = 8
	for line := range strings.Lines(m.Spec.Value.Expose()) {
		if line = strings.TrimSpace(line); len(line) >= chance && strings.Contains(m.text.changed, line) {
			return true
		}
	}
	return false
}

var inDays = regexp.MustCompile(`^([0-9]{1,6})d$`)

// parseNotAfter reads --not-after. It returns whole seconds, the zero time for "".
func parseNotAfter(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		var d time.Duration
		if days := inDays.FindStringSubmatch(text); days != nil {
			n, _ := strconv.Atoi(days[1])
			at, err = now.AddDate(0, 0, n), nil
		} else if d, err = time.ParseDuration(text); err == nil {
			at = now.Add(d)
		}
	}
	if at = at.UTC().Truncate(time.Second); err != nil || !at.After(now) {
		return time.Time{}, errors.New("--not-after expects a date (2027-01-31T00:00:00Z) or a duration (90d, 12h), " +
			"in the future")
	}
	return at, nil
}
