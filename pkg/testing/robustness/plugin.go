// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// plugin is the KMS of both servers: hack/kms-plugin as a process.
type plugin struct {
	socket, keysFile, logFile string

	// first is the key that it was started with, rotations count from there.
	first     string
	rotations int
	command   *exec.Cmd
	log       *os.File
}

func startPlugin(t testing.TB) *plugin {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &plugin{
		socket: filepath.Join(dir, "kms.sock"), keysFile: filepath.Join(dir, "keys.json"),
		logFile: filepath.Join(dir, "kms.log"), first: "key-1",
	}
	p.start(t)
	return p
}

// start starts the process, or starts it again with the key that it had.
func (p *plugin) start(t testing.TB) {
	t.Helper()
	p.first, p.rotations = p.key(), 0
	var err error
	if p.log, err = os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(p.socket)                                                                                            // of one that was killed
	p.command = exec.Command(harness.KMSPluginBinary(t), "--socket="+p.socket, "--keys="+p.keysFile, "--key="+p.first) //nolint:gosec,noctx // ended by kill
	p.command.Stderr = p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if !eventually(func() bool { _, err := os.Stat(p.socket); return err == nil }) {
		t.Fatalf("the KMS plugin does not listen:\n%s", harness.ReadFile(t, p.logFile))
	}
}

// key is the one that wraps.
func (p *plugin) key() string {
	if p.rotations == 0 {
		return p.first
	}
	return fmt.Sprintf("%s-%d", p.first, p.rotations)
}

// rotate makes a new key the one that wraps.
func (p *plugin) rotate(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGHUP)
	p.rotations++
}

// kill ends the process at once. It may be called more than once.
func (p *plugin) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait() // it was killed, or waited for before
	_ = p.log.Close()
}

func (p *plugin) signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// provider is its entry in an EncryptionConfiguration.
func (p *plugin) provider() string {
	return fmt.Sprintf("  - kms: {apiVersion: v2, name: vault, endpoint: %q, timeout: 3s}\n", "unix://"+p.socket)
}
