// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// serve keeps the files current until ctx ends.
func (o *options) serve(ctx context.Context, p plan) error {
	v, err := o.openVolume()
	if err != nil {
		return err
	}
	defer v.close()
	if err := o.setReady(false); err != nil {
		return err
	}
	o.timeout = math.MaxInt64 // the kubelet has a startupProbe for this
	err = o.follow(ctx, p, func(_ context.Context, values values) error {
		first := v.empty()
		files, err := p.content(values)
		if err != nil {
			return err
		}
		changed, err := v.write(files)
		if err != nil {
			return err
		}
		if changed && !first {
			o.log.Printf("the files in %s have changed", o.dir)
			o.sendSignal()
		}
		return errors.Join(v.clean(files), o.setReady(true))
	})
	return errors.Join(err, o.setReady(false))
}

// setReady creates or removes the file of --ready-file.
func (o *options) setReady(ready bool) error {
	if o.readyFile == "" {
		return nil
	}
	err := os.Remove(o.readyFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if ready && err == nil {
		err = atomicfile.Replace(o.readyFile, nil)
	}
	return wrap("--ready-file", err)
}

// checkReady fails unless serve has written all files.
func (o *options) checkReady() error {
	if o.readyFile == "" {
		return errors.New("--ready-file is required, with the path that serve has")
	}
	_, err := os.Stat(o.readyFile)
	return err
}

// parseSignal parses HUP or SIGHUP.
func parseSignal(name string) (syscall.Signal, error) {
	number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if number == 0 {
		return 0, fmt.Errorf("unknown signal %q", name)
	}
	return number, nil
}

// sendSignal tells a process about new files. A process that does not run reads them when it starts.
func (o *options) sendSignal() {
	if o.signal == "" {
		return
	}
	signal, _ := parseSignal(o.signal) // was checked
	pids, err := o.processes()
	for _, pid := range pids {
		if failed := syscall.Kill(pid, signal); failed != nil {
			err = errors.Join(err, fmt.Errorf("process %d: %w", pid, failed))
		}
	}
	switch {
	case errors.Is(err, syscall.EPERM):
		err = fmt.Errorf("%w; both containers need the same runAsUser", err)
	case err == nil && len(pids) == 0:
		err = errors.New("no such process; a sidecar needs shareProcessNamespace: true")
	}
	if err != nil {
		o.log.Printf("sending %s: %s", o.signal, oneLine(err))
	}
}

// processes returns the ids of --pid-file or --process.
func (o *options) processes() ([]int, error) {
	if o.pidFile != "" {
		data, err := os.ReadFile(o.pidFile)
		if err != nil {
			return nil, fmt.Errorf("--pid-file: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil || pid <= 1 {
			return nil, fmt.Errorf("--pid-file: %s does not contain the id of a process", o.pidFile)
		}
		return []int{pid}, nil
	}
	parents := map[int]int{} // of the processes with the name
	directories, _ := filepath.Glob("/proc/[0-9]*")
	for _, directory := range directories {
		status, _ := os.ReadFile(directory + "/status") //nolint:gosec // fails for processes that have ended
		var name string
		var parent int
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch key {
			case "Name":
				name = value
			case "PPid":
				parent, _ = strconv.Atoi(value)
			}
		}
		if pid, err := strconv.Atoi(filepath.Base(directory)); err == nil && name == o.process {
			parents[pid] = parent
		}
	}
	var pids []int
	for pid, parent := range parents {
		if _, worker := parents[parent]; !worker {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
