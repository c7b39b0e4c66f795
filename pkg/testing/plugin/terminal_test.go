// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/securevalue/secret-apiserver/pkg/testing/screen"
)

// patience is a generous timeout, not a claim about speed.
const patience = 60 * time.Second

// typed DIALOGUE ARG... runs the plugin with a pseudo-terminal as standard input and standard error, and plays a
// dialogue with it. Each line of the file is `wait TEXT`, until the terminal shows it; `hidden`, until the terminal
// shows nothing of what is typed; `shown`, until it does again; `type TEXT`, a line, with variables of the script;
// `send TEXT`, no whole line; `press ^C`. Afterwards the file terminal is what was shown, and stdout holds standard
// output. What is shown must hold no value.
func (s *suite) typed(ts *testscript.TestScript, neg bool, args []string) {
	dialogue := ts.ReadFile(args[0])
	control, tty, err := pty.Open()
	ts.Check(err)
	defer control.Close() //nolint:errcheck // a terminal of the test
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, "kubectl-securevalue", args[1:]...)
	command.Path, err = lookPath(ts, "kubectl-securevalue")
	ts.Check(err)
	command.Dir, command.Env = ts.Getenv("WORK"), environment(ts)
	var stdout bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = tty, &stdout, tty
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: syscall.SIGKILL}
	ts.Check(command.Start())
	shown := screen.Watch(control)
	play(ts, control, tty, shown, dialogue)
	err = command.Wait()
	if ctx.Err() != nil {
		ts.Fatalf("the plugin did not end; the terminal shows:\n%s", shown.Text())
	}
	if !echoes(ts, tty) {
		ts.Fatalf("the terminal was left without echo")
	}
	_ = tty.Close()
	shown.Wait()
	ts.Setenv("EXIT", strconv.Itoa(exitCode(ts, err)))
	text := strings.ReplaceAll(shown.Text(), "\r\n", "\n")
	ts.Logf("[terminal]\n%s[stdout]\n%s", text, stdout.String())
	ts.Check(os.WriteFile(ts.MkAbs("terminal"), []byte(text), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("out"), stdout.Bytes(), 0o600))
	clean(ts, text, stdout.String())
	expect(ts, neg, err)
}

// play executes the lines of a dialogue.
func play(ts *testscript.TestScript, control, tty *os.File, shown *screen.Screen, dialogue string) {
	for line := range strings.Lines(dialogue) {
		ts.Logf("  %s", strings.TrimSuffix(line, "\n"))
		verb, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text = os.Expand(text, ts.Getenv)
		switch verb {
		case "wait":
			until(ts, "the terminal shows "+strconv.Quote(text), func() bool { return shown.Next(text) })
		case "hidden", "shown":
			until(ts, "typing is "+verb, func() bool { return echoes(ts, tty) == (verb == "shown") })
		case "type":
			_, err := control.WriteString(text + "\n")
			ts.Check(err)
		case "send":
			_, err := control.WriteString(text)
			ts.Check(err)
		case "press":
			_, err := control.Write([]byte{text[1] - '@'})
			ts.Check(err)
		default:
			ts.Fatalf("dialogue: unknown line %q", line)
		}
	}
}

func until(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("timed out after %s waiting until %s", patience, what)
		}
	}
}

// echoes reports whether a terminal echoes input.
func echoes(ts *testscript.TestScript, tty *os.File) bool {
	yes, err := screen.Echoes(tty)
	ts.Check(err)
	return yes
}

// environment returns the variables of the script.
func environment(ts *testscript.TestScript) []string {
	var all []string
	for _, name := range []string{"PATH", "HOME", "KUBECONFIG", "TERM", "CANARY"} {
		all = append(all, name+"="+ts.Getenv(name))
	}
	return all
}

// lookPath finds a program on the PATH of the script.
func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode().IsRegular() {
			return dir + "/" + name, nil
		}
	}
	return "", exec.ErrNotFound
}
