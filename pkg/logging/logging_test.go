// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/component-base/logs"
)

// The last line is one line in the form of those before it.
func TestWriteError(t *testing.T) {
	write := func(args ...string) string {
		command := &cobra.Command{}
		AddFlags(logs.NewOptions(), command.Flags())
		if err := command.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		WriteError(&out, command, errors.New("one\ntwo"))
		return out.String()
	}
	if got := write(); got != "error: one; two\n" {
		t.Errorf("as text: %q", got)
	}
	var entry map[string]any
	if got := write("--logging-format=json"); json.Unmarshal([]byte(got), &entry) != nil || entry["err"] != "one; two" || entry["msg"] == "" {
		t.Errorf("in JSON: %q", got)
	}
}
