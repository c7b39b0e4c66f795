// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/screen"
)

// typedValue is what somebody types at a prompt; the picture shows it once, where a service opens it.
const typedValue = "hunter2-for-load-tests"

// scene is a command of the picture, its prompts, at which the value is typed, and its exit code.
type scene struct {
	command string
	prompts []string
	code    int
}

// scenes follow the steps of docs/getting-started.md on the server that it starts. What they print must fit the
// picture.
var scenes = []scene{
	{
		command: `kubectl securevalue create checkout-password -d "Load test login" --decrypter k6-cloud`,
		prompts: []string{"Value (hidden): ", "Repeat value: "},
	},
	{command: "kubectl get securevalues"},
	{command: `kubectl get securevalue checkout-password -o jsonpath='{.spec}{"\n"}'`},
	{command: "kubectl securevalue can-decrypt checkout-password --as ci --rbac-dir rbac", code: 1},
	{command: `curl --cacert data/pki/ca.crt -H "Authorization: Bearer $(cat k6.token)" -H 'Accept: text/plain' \
  https://127.0.0.1:8444/decrypt/v1/namespaces/default/secrets/checkout-password/decrypt`},
	{command: "kubectl securevalue set checkout-password --generate --length 40"},
	{command: "kubectl securevalue keys"},
}

// The picture in the docs is what the commands print on a terminal today. UPDATE_CAPTURE=1 redraws it.
func TestTerminalPicture(t *testing.T) {
	page := "docs/getting-started.md"
	c := newClone(t, page, builtPrograms(t))
	blocks, err := Parse(read(t, filepath.Join(harness.Root(t), page)))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks { // up to the server: tokens, roles
		if b.Mark == "tested" {
			c.Run(t, b)
		}
		if b.Mark == "tested: server" {
			c.serve(t, strings.TrimSpace(b.Text)+" --secure-port=0 --decrypt-port=auto")
			break
		}
	}
	c.Environment = append(c.Environment, "KUBECONFIG="+filepath.Join(c.Dir, "data", "admin.kubeconfig"))

	var shown []line
	for _, s := range scenes {
		printed := settled(c.onTerminal(t, s))
		for i, text := range strings.Split(s.command, "\n") {
			shown = append(shown, line{text: text, prompt: i == 0, typed: true})
		}
		for text := range strings.SplitSeq(strings.TrimSuffix(printed, "\n"), "\n") {
			shown = append(shown, line{text: strings.TrimRight(text, " ")})
		}
	}
	picture := draw(t, shown)
	if count := strings.Count(picture, typedValue); count != 1 {
		t.Errorf("the picture shows the value %d times; want once, where the service opens it", count)
	}
	file := filepath.Join(harness.Root(t), "docs", "images", "terminal.svg")
	if os.Getenv("UPDATE_CAPTURE") != "" {
		harness.WriteFile(t, file, picture)
	}
	if diff := cmp.Diff(strings.Split(read(t, file), "\n"), strings.Split(picture, "\n")); diff != "" {
		t.Errorf("docs/images/terminal.svg is not what the commands print; make update-capture redraws it (-file +now):\n%s", diff)
	}
}

var (
	age     = regexp.MustCompile(`(?m)( +)\d+(?:s|m\d*s?)$`)
	keyDate = regexp.MustCompile(`key-\d{8}-[0-9a-f]{8}\b`)
)

// settled takes out of what is printed what differs from run to run: ages, and the name of the first key.
func settled(printed string) string {
	return keyDate.ReplaceAllString(age.ReplaceAllString(printed, "${1}5s"), "key-20260101-3f9c2e71")
}

func TestSettled(t *testing.T) {
	got := settled("NAME   AGE\na      119s\nb      2m3s\naesgcm/key-20301231-00ffab12   3 values\n")
	if want := "NAME   AGE\na      5s\nb      5s\naesgcm/key-20260101-3f9c2e71   3 values\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// onTerminal runs a command by bash on a pseudo-terminal, answers its prompts with the value once nothing that is typed
// is shown, and returns what the terminal shows.
func (c *clone) onTerminal(t *testing.T, s scene) string {
	t.Helper()
	control, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close() //nolint:errcheck // a terminal of the test
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 50, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-c", c.real(s.command))
	command.Dir, command.Env = c.Dir, c.Environment
	command.Stdin, command.Stdout, command.Stderr = tty, tty, tty
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	shown := screen.Watch(control)
	for _, prompt := range s.prompts {
		eventually(t, func() bool {
			echoes, err := screen.Echoes(tty)
			return err == nil && !echoes && strings.HasSuffix(shown.Text(), prompt)
		}, func() string {
			return s.command + "\nasked for nothing by " + prompt + "; the terminal shows\n" + shown.Text()
		})
		if _, err := control.WriteString(typedValue + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	err = command.Wait()
	_ = tty.Close()
	shown.Wait()
	text := rendered(shown.Text())
	if code := command.ProcessState.ExitCode(); code != s.code {
		t.Fatalf("%s\nended with %v, code %d; want code %d; the terminal shows\n%s", s.command, err, code, s.code, text)
	}
	return text
}

// rendered is what is left on a terminal's lines: a carriage return writes over a line from its start, ESC [K clears
// the rest of it, as progress bars do.
func rendered(shown string) string {
	var lines []string
	for text := range strings.SplitSeq(shown, "\n") {
		var cells []rune
		column := 0
		for rest := []rune(text); len(rest) > 0; rest = rest[1:] {
			switch {
			case rest[0] == '\r':
				column = 0
			case len(rest) >= 3 && string(rest[:3]) == "\x1b[K":
				cells, rest = cells[:column], rest[2:]
			default:
				cells = append(cells[:column], append([]rune{rest[0]}, cells[min(column+1, len(cells)):]...)...)
				column++
			}
		}
		lines = append(lines, string(cells))
	}
	return strings.Join(lines, "\n")
}

func TestRendered(t *testing.T) {
	if got, want := rendered("\r[==] 1\x1b[K\r\x1b[KKEY\r\nabc\rX\r\n"), "KEY\nXbc\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
