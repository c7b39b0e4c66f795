// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// exitInterrupted is the exit code after Ctrl-C, SIGINT or SIGTERM, as of a shell.
const exitInterrupted = 130

const setCluster = "set --kubeconfig, --context or KUBECONFIG; " +
	"a standalone server writes admin.kubeconfig to its data directory"

var (
	// errPrinted is a failure whose text is already on standard output.
	errPrinted = errors.New("the result is negative")
	// errNoCluster replaces kubectl's attempt to reach localhost:8080.
	errNoCluster = errors.New("no cluster configured: " + setCluster)
)

// exitError carries an exit code.
type exitError struct {
	error
	code int
}

// Unwrap returns the error itself.
func (e exitError) Unwrap() error { return e.error }

// withExitCode gives an error an exit code other than 1.
func withExitCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return exitError{err, code}
}

// exitCode returns the exit code for an error.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[exitError](err); ok {
		return exit.code
	}
	return 1
}

// apiError adds to an error of the API what was tried, and what to do next where that is known.
func apiError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w%s", doing, err, hint(err))
}

// hint says what to do about an error.
func hint(err error) string {
	switch {
	case clientcmd.IsEmptyConfig(err):
		return "; " + setCluster
	case apierrors.IsAlreadyExists(err):
		return `; "kubectl securevalue set NAME" writes a new value to it`
	case apierrors.IsUnauthorized(err):
		return "; the token or certificate of your kubeconfig is not accepted, see \"kubectl auth whoami\""
	case apierrors.HasStatusCause(err, secret.CauseDeleted):
		return "" // the server's message says it
	case apierrors.IsConflict(err):
		return "; it was changed concurrently, review it and try again"
	case apierrors.IsServiceUnavailable(err):
		return "; nothing was changed, try again later"
	case notServed(err):
		return `; does this server serve the API? See "kubectl api-resources --api-group=secret.grafana.app"`
	}
	return ""
}

// notServed distinguishes a path that is not served from an object that does not exist.
func notServed(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Name == "" || apierrors.HasStatusCause(err, "UnexpectedServerResponse")
}

// flagError describes an error in the flags without the text that was given for one.
func flagError(c *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		flag := invalid.GetFlag()
		return fmt.Errorf("invalid value for --%s: expected %s%s", flag.Name, expected(flag.Value.Type()), seeHelp(c))
	}
	if absent, ok := errors.AsType[*pflag.NotExistError](err); ok && absent.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("unknown flag -%.1s%s", absent.GetSpecifiedShortnames(), seeHelp(c))
	}
	if _, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return fmt.Errorf("malformed flag%s", seeHelp(c))
	}
	return fmt.Errorf("%w%s", err, seeHelp(c))
}

// expected describes the values of a type of flags.
func expected(flagType string) string {
	switch flagType {
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	case "stringToString":
		return "KEY=VALUE,..."
	default:
		return flagType
	}
}

func seeHelp(c *cobra.Command) string { return fmt.Sprintf("; see %q", c.CommandPath()+" --help") }
