// SPDX-License-Identifier: Apache-2.0

// Command profiled is secret-apiserver with CPU profiles, for `make bench-profile` only. The program that ships has
// none: a profile of the memory holds values, and the way to one must not exist. A CPU profile holds names of
// functions.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"github.com/securevalue/secret-apiserver/pkg/server"
)

// addressFlag names where profiles are served; it is taken out before the server sees its flags.
const addressFlag = "--cpu-profile-address="

func main() {
	address, err := takeAddress()
	if err == nil {
		go func() { // no other handler of net/http/pprof is reachable
			fmt.Fprintln(os.Stderr, "error:", http.ListenAndServe(address, http.HandlerFunc(pprof.Profile))) //nolint:gosec // on loopback, for the bench alone
		}()
		err = cli.RunNoErrOutput(server.NewCommand(genericapiserver.SetupSignalContext()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func takeAddress() (string, error) {
	for i, arg := range os.Args {
		if address, ok := strings.CutPrefix(arg, addressFlag); ok {
			os.Args = append(os.Args[:i:i], os.Args[i+1:]...)
			return address, nil
		}
	}
	return "", errors.New("no " + addressFlag + "HOST:PORT")
}
