// SPDX-License-Identifier: Apache-2.0

package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

const outputTable = "table"

func printer(form string) (func(io.Writer, answer) error, error) {
	switch form {
	case outputTable, "":
		return printTable, nil
	case "json":
		return printJSON, nil
	case "yaml":
		return printYAML, nil
	}
	return nil, errors.New("-o must be table, json or yaml")
}

func printJSON(out io.Writer, a answer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(a)
}

func printYAML(out io.Writer, a answer) error {
	data, err := yaml.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	_, err = out.Write(data)
	return err
}

func printTable(out io.Writer, a answer) error {
	var text strings.Builder
	if len(a.Openers) == 0 {
		fmt.Fprintf(&text, "Nobody may open %s/%s: %s.\n", a.Namespace, a.Name, a.whyNobody())
	} else {
		table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
		_, _ = fmt.Fprintln(table, "SUBJECT\tDECRYPTER\tMAY DECRYPT BY\tMAY USE BY") // a builder does not fail
		for i := range a.Openers {
			a.Openers[i].rows(table)
		}
		_ = table.Flush()
	}
	for _, r := range a.Refused {
		for _, w := range r.Ways {
			fmt.Fprintf(&text, "\nRefused: %s, in spite of %s: %s.", r.Subject, w, r.Reason)
		}
	}
	if len(a.Refused) > 0 {
		text.WriteString("\n")
	}
	a.printIndirect(&text)
	_, err := io.WriteString(out, strings.TrimRight(text.String(), "\n")+"\n")
	return err
}

const whyDeleted = "it is deleted and waits for its finalizers, its value is gone"

// whyNobody says what is missing.
func (a answer) whyNobody() string {
	switch {
	case a.Deleted:
		return whyDeleted
	case len(a.Decrypters) == 0:
		return "its list of decrypters is empty"
	case a.rights == 0:
		return `no binding gives anybody the verb "decrypt" on it`
	default:
		return fmt.Sprintf(`no subject has both "decrypt" on it and "use" on one of its decrypters (%s), granted by name`,
			strings.Join(a.Decrypters, ", "))
	}
}

// rows prints as many lines as there are ways to one of the two rights.
func (o *opener) rows(table io.Writer) {
	who, decrypter := o.Subject.String(), o.Decrypter
	if o.Also != nil {
		who += ", if in " + o.Also.String()
	}
	for i := range max(len(o.Decrypt), len(o.Use)) {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", who, decrypter, at(o.Decrypt, i), at(o.Use, i)) // Flush returns the error
		who, decrypter = "", ""
	}
}

func at(ways []way, i int) string {
	if i < len(ways) {
		return ways[i].String()
	}
	return ""
}

// String is BINDING of ROLE, with the group and the wildcards.
func (w way) String() string {
	text := w.Binding
	if w.To != "" {
		text += " to " + w.To
	}
	text += " of " + w.Role
	if len(w.Wildcards) > 0 {
		text += " (* in " + strings.Join(w.Wildcards, ", ") + ")"
	}
	return text
}
