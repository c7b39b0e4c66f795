// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

const inspectLong = `Show what a sealed value tells without its key: the key that opens it, the object and decrypters
that it must be sealed for, its expiry and a limit for the size of the value. Only the server knows whether it opens.`

const inspectExample = `  # Manifests.
  kubectl securevalue inspect -f api-key.yaml -f db.yaml

  # What the server has.
  kubectl securevalue inspect api-key`

// inspected is a line of the report.
type inspected struct {
	Namespace  string   `json:"namespace"`
	Name       string   `json:"name"`
	Suite      string   `json:"suite"`
	KeyID      string   `json:"keyID"`
	Decrypters []string `json:"decrypters"`
	// NotAfter is absent if the text does not expire.
	NotAfter *time.Time `json:"notAfter,omitempty"`
	Expired  bool       `json:"expired,omitempty"`
	// MaxValueBytes is the size that the value was padded to; 0: the text was cut and does not open.
	MaxValueBytes int `json:"maxValueBytes"`
}

// inspector reads sealed values.
type inspector struct {
	*factory
	files  files
	output cli.Output
	found  []inspected
}

func newInspect(f *factory) *cobra.Command {
	i := &inspector{factory: f, found: []inspected{}}
	c := &cobra.Command{
		Use:     "inspect {NAME | -f FILE...}",
		Short:   "Show what a sealed value tells without its key",
		Long:    inspectLong,
		Example: inspectExample,
		Args: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (len(i.files.names) > 0) || len(args) > 1 {
				return fmt.Errorf("expected either one NAME or files with -f FILE%s", seeHelp(c))
			}
			return nil
		},
		ValidArgsFunction: f.completeNames,
		RunE:              func(c *cobra.Command, args []string) error { return i.run(c.Context(), args) },
	}
	i.files.addFlags(c, false)
	i.output.AddFlag(c.Flags(), "table", "json")
	return c
}

func (i *inspector) run(ctx context.Context, args []string) (err error) {
	if err := i.output.Validate(); err != nil {
		return err
	}
	if len(args) > 0 {
		err = i.inspectStored(ctx, args[0])
	} else {
		err = i.files.edit(i.In, nil, i.inspectManifest)
	}
	if err != nil {
		return err
	}
	return i.output.Print(i.Out, i.found, i.table)
}

func (i *inspector) inspectStored(ctx context.Context, name string) error {
	client, namespace, err := i.secureValues()
	if err != nil {
		return err
	}
	sv, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return apiError(fmt.Sprintf("reading %s/%s", namespace, name), err)
	}
	if sv.Spec.SealedValue == "" {
		return fmt.Errorf("%s/%s has no spec.sealedValue: its value was written in plain", namespace, name)
	}
	return i.inspect(namespace, name, sv.Spec.Decrypters, sv.Spec.SealedValue)
}

func (i *inspector) inspectManifest(m *manifest) error {
	if m.Spec.Value != nil {
		const note = "note: %s: spec.value is not sealed\n"
		fmt.Fprintf(i.ErrOut, note, m.at) //nolint:errcheck // a note
	}
	if m.Spec.SealedValue == nil {
		return nil
	}
	if err := i.setNamespace(m); err != nil {
		return err
	}
	return i.inspect(m.Metadata.Namespace, m.Metadata.Name, m.Spec.Decrypters, *m.Spec.SealedValue)
}

func (i *inspector) inspect(namespace, name string, decrypters []string, sealedValue string) error {
	text, err := sealing.Parse(sealedValue)
	if err != nil {
		return fmt.Errorf("spec.sealedValue: %w", err)
	}
	line := inspected{Namespace: namespace, Name: name, Suite: text.Suite(), KeyID: text.KeyID(),
		Decrypters: append([]string{}, decrypters...), MaxValueBytes: text.SizeClass()}
	if at := text.NotAfter(); !at.IsZero() {
		line.NotAfter, line.Expired = &at, !at.After(time.Now())
	}
	i.found = append(i.found, line)
	return nil
}

func (i *inspector) table() string {
	rows := [][]string{{"NAMESPACE", "NAME", "SUITE", "KEY", "EXPIRES", "SIZE", "DECRYPTERS"}}
	for _, line := range i.found {
		expires, size, decrypters := "never", fmt.Sprintf("at most %d", line.MaxValueBytes), "none"
		if line.NotAfter != nil {
			expires = line.NotAfter.Format(time.RFC3339)
		}
		if line.Expired {
			expires += " (expired)"
		}
		if line.MaxValueBytes == 0 {
			size = "cut"
		}
		if len(line.Decrypters) > 0 {
			decrypters = strings.Join(line.Decrypters, ",")
		}
		rows = append(rows, []string{line.Namespace, line.Name, line.Suite, line.KeyID, expires, size, decrypters})
	}
	return cli.Table(rows)
}
