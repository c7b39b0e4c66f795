// SPDX-License-Identifier: Apache-2.0

// Package process runs the programs of a test cluster. It must never end a process that it did not start: each is
// stopped by its own handle.
package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopTimeout bounds a graceful stop on a busy machine; it makes no claim about speed.
const stopTimeout = 90 * time.Second

// Process is a program that can be stopped and started again.
type Process struct {
	// LogFile gets everything that the program prints, over all of its starts.
	LogFile string

	binary  string
	args    []string
	command *exec.Cmd
	exited  chan struct{}
	err     error
}

// New returns a program that is not started yet.
func New(logFile, binary string, args ...string) *Process {
	return &Process{LogFile: logFile, binary: binary, args: args}
}

// SetArgs changes the arguments of the next start.
func (p *Process) SetArgs(args ...string) { p.args = args }

// Start runs the program. It ends with this process at the latest.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	command := exec.Command(p.binary, p.args...) //nolint:gosec,noctx // a program of the test; stopped by Stop and Kill
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	p.command, p.exited = command, exited
	go func() {
		p.err = command.Wait()
		close(exited)
	}()
	return nil
}

// Running says whether the program was started and has not ended.
func (p *Process) Running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// PID is the id of the program that was started last.
func (p *Process) PID() int { return p.command.Process.Pid }

// Stop asks the program to end and waits for it. A program that does not end well is an error.
func (p *Process) Stop() error {
	if !p.Running() {
		return nil
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not stop within %s", p.binary, stopTimeout)
	}
}

// Kill ends the program at once. It may be called at any time, and more than once.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.command.Process.Kill()
		<-p.exited
	}
}

// Await calls ready until it returns nil. It gives up when ctx ends or the program does.
func (p *Process) Await(ctx context.Context, ready func(ctx context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			//nolint:errorlint // the error is nil when the program ended with code 0
			return fmt.Errorf("%s ended (%v); last lines of %s:\n%s", p.binary, p.err, p.LogFile, p.Tail(15))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w); last lines of %s:\n%s", p.binary, err, p.LogFile, p.Tail(15))
		case <-tick.C:
		}
	}
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) []byte {
	data, err := os.ReadFile(p.LogFile)
	if err != nil {
		return []byte(err.Error())
	}
	all := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}
