// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// runner is a child process, and what happens to it when a value changes.
type runner struct {
	*options
	plan    plan
	volume  *volume // nil without files
	command []string

	sets     chan set
	signals  chan os.Signal
	children chan os.Signal // SIGCHLD, on its own so that other signals do not displace it
	// pid is the child; 0 before its first start.
	pid int
	// variables are those of the next start, which follows the end of the child when restarting.
	variables  []string
	restarting bool
	overdue    *time.Timer
}

// The values of --on-change other than signals.
const (
	ignore  = "ignore"
	restart = "restart"
)

// set is a set of values. The runner sends whether it could be written.
type set struct {
	values values
	result chan error
}

// run starts a command with the values, and restarts or signals it when they change. The error has its exit code.
func (o *options) run(ctx context.Context, p plan, command []string) error {
	r := &runner{options: o, plan: p, command: command, sets: make(chan set), overdue: time.NewTimer(0)}
	r.signals, r.children = make(chan os.Signal, 64), make(chan os.Signal, 1)
	if len(p.files) > 0 {
		var err error
		if r.volume, err = o.openVolume(); err != nil {
			return err
		}
		defer r.volume.close()
	}
	ctx, cancel := context.WithCancel(ctx)
	follow := o.follow
	if o.onChange == ignore {
		follow = o.once
	}
	failed, ended := make(chan error, 1), make(chan struct{})
	apply := func(ctx context.Context, values values) error {
		s := set{values, make(chan error, 1)}
		select {
		case r.sets <- s:
			return <-s.result
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		defer close(ended)
		failed <- follow(ctx, p, apply)
	}()
	err := r.supervise(failed)
	cancel()
	<-ended
	return err
}

// supervise returns when the child has ended other than for a restart, or when it cannot be started.
func (r *runner) supervise(failed <-chan error) error {
	<-r.overdue.C // of its creation
	for {
		select {
		case err := <-failed:
			if r.pid == 0 {
				return err
			}
			failed = nil
		case s := <-r.sets:
			err := r.change(s.values)
			s.result <- err
			if err != nil && r.pid == 0 {
				return err
			}
		case s := <-r.signals:
			r.pass(s.(syscall.Signal))
		case <-r.children:
			status, ended := r.reap()
			if !ended {
				continue
			}
			if !r.restarting {
				return exitWith(status)
			}
			r.restarting = false
			r.overdue.Stop()
			if err := r.start(); err != nil {
				return err
			}
		case <-r.overdue.C:
			r.log.Printf("%s did not end within %s: killing it", r.command[0], r.grace)
			r.kill(syscall.SIGKILL)
		}
	}
}

// change writes the files and tells the child, or starts it the first time.
func (r *runner) change(values values) error {
	variables, err := r.plan.environ(values)
	if err != nil {
		return err
	}
	changed := !slices.Equal(variables, r.variables)
	r.variables = variables
	if r.volume != nil {
		written, err := r.volume.put(r.plan, values)
		if err != nil {
			return err
		}
		changed = changed || written
	}
	switch {
	case r.pid == 0:
		r.notify()
		return r.start()
	case !changed || r.restarting:
	case r.onChange == restart:
		r.log.Printf("a value changed: restarting %s", r.command[0])
		r.restarting = true
		r.overdue.Reset(r.grace)
		r.kill(syscall.SIGTERM)
	default:
		r.log.Printf("a value changed: sending %s to %s", r.onChange, r.command[0])
		signal, _ := parseSignal(r.onChange) // was checked
		r.kill(signal)
	}
	return nil
}

// notify subscribes to all signals but those by which a terminal stops jobs.
func (r *runner) notify() {
	signal.Notify(r.signals)
	signal.Notify(r.children, syscall.SIGCHLD)
	signal.Reset(syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
}

// start starts the command. Its variables are in no other environment.
func (r *runner) start() error {
	path, err := exec.LookPath(r.command[0])
	if err != nil {
		return &exit{code: 127, err: err}
	}
	environ := slices.DeleteFunc(os.Environ(), func(item string) bool {
		name, _, _ := strings.Cut(item, "=")
		return slices.ContainsFunc(r.plan.variables, func(t target) bool { return t.to == name })
	})
	r.pid, err = syscall.ForkExec(path, r.command, &syscall.ProcAttr{ //nolint:gosec // the user's command
		Env: append(environ, r.variables...), Files: []uintptr{0, 1, 2},
	})
	switch {
	case errors.Is(err, syscall.E2BIG):
		err = errors.New("the values of --env are too large for the environment of a process; use --file")
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w (or the interpreter that it names)", err)
	}
	if err != nil {
		return &exit{code: 126, err: fmt.Errorf("starting %s: %w", path, err)}
	}
	return nil
}

// kill signals the child, which exists: only reap removes it.
func (r *runner) kill(s syscall.Signal) { _ = syscall.Kill(r.pid, s) }

// pass gives a signal to the child. One that asks for the end ends a restart too.
func (r *runner) pass(s syscall.Signal) {
	keyboard := s == syscall.SIGINT || s == syscall.SIGQUIT
	if keyboard || s == syscall.SIGTERM {
		r.restarting = false
		r.overdue.Stop()
	}
	switch {
	case s == syscall.SIGCHLD, s == syscall.SIGPIPE, s == syscall.SIGURG: // the runtime sends SIGURG to itself
	case keyboard && term.IsTerminal(0): // which has sent it to the child as well
	default:
		r.kill(s)
	}
}

// reap removes ended processes, also those that this one adopted as the first of a container, and returns how the child
// ended.
func (r *runner) reap() (child syscall.WaitStatus, ended bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 {
			return child, ended
		}
		if pid == r.pid {
			child, ended = status, true
		}
	}
}

// exit is the exit code of a command that was started, or cannot be.
type exit struct {
	code int
	err  error // printed if not nil
}

// Error implements error.
func (e *exit) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

// exitWith returns the code of a status, as a shell does: 128 and the number of the signal for a killed process.
func exitWith(status syscall.WaitStatus) error {
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	if code == 0 {
		return nil
	}
	return &exit{code: code}
}
