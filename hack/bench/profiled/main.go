// SPDX-License-Identifier: Apache-2.0

// Command profiled is secret-apiserver with CPU profiles, for `make bench-profile` only. The program that ships has
// none: a profile of the memory holds values, and the way to one must not exist. A CPU profile holds names of
// functions.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"github.com/securevalue/secret-apiserver/pkg/server"
)

// directoryFlag names where profiles go; it is taken out before the server sees its flags.
const directoryFlag = "--cpu-profile-dir="

func main() {
	directory, err := takeDirectory()
	if err == nil {
		go profile(directory)
		err = cli.RunNoErrOutput(server.NewCommand(genericapiserver.SetupSignalContext()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func takeDirectory() (string, error) {
	for i, arg := range os.Args {
		if directory, ok := strings.CutPrefix(arg, directoryFlag); ok {
			os.Args = append(os.Args[:i:i], os.Args[i+1:]...)
			return directory, nil
		}
	}
	return "", errors.New("no " + directoryFlag + "DIR")
}

// profile starts a profile at a SIGUSR1 and ends it at the next one. The file DIR/N.part becomes DIR/N.pprof then.
func profile(directory string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	for number := 0; ; number++ {
		<-signals
		part := filepath.Join(directory, fmt.Sprintf("%d.part", number))
		file, err := os.Create(part) //nolint:gosec // the folder of the caller
		if err == nil {
			err = pprof.StartCPUProfile(file)
		}
		<-signals
		pprof.StopCPUProfile()
		if err = errors.Join(err, file.Close(), os.Rename(part, filepath.Join(directory, fmt.Sprintf("%d.pprof", number)))); err != nil {
			fmt.Fprintln(os.Stderr, "error: profile:", err)
		}
	}
}
