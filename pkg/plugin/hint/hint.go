// SPDX-License-Identifier: Apache-2.0

// Package hint turns errors of the API and of flags into errors that say what to do next, and into exit codes. It must never repeat
// what somebody typed behind a flag: it may be a value at the wrong place.
package hint

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ErrSilent stands in the chain of an error whose text has been printed as a result.
var ErrSilent = errors.New("said already")

// Interrupted is the exit code after Ctrl-C, SIGINT or SIGTERM, as of a shell.
const Interrupted = 130

// exitError carries an exit code.
type exitError struct {
	error
	code int
}

// Unwrap returns the error itself.
func (e exitError) Unwrap() error { return e.error }

// WithExitCode gives an error an exit code other than 1.
func WithExitCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return exitError{err, code}
}

// ExitCode is the exit code for an error: 0 for none.
func ExitCode(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	default:
		return 1
	}
}

// API says what was done when the API refused it, and what to do next where that is known.
func API(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w%s", doing, err, next(err))
}

const nameACluster = "name a cluster with --kubeconfig, --context or KUBECONFIG; " +
	"a standalone server writes admin.kubeconfig into its data folder"

// ErrNoCluster is what the plugin says where kubectl would try localhost:8080.
var ErrNoCluster = errors.New("no cluster is configured: " + nameACluster)

// next is the hint for an error, with its separator.
func next(err error) string {
	switch {
	case clientcmd.IsEmptyConfig(err):
		return "; " + nameACluster
	case apierrors.IsAlreadyExists(err):
		return `; "kubectl securevalue set NAME" writes a new value to it`
	case apierrors.IsUnauthorized(err):
		return "; the token or certificate of your kubeconfig is not accepted, see \"kubectl auth whoami\""
	case apierrors.HasStatusCause(err, secret.CauseDeleted):
		return "" // the message of the server says it
	case apierrors.IsConflict(err):
		return "; somebody else changed it meanwhile, look at it and try again"
	case apierrors.IsServiceUnavailable(err):
		return "; nothing was changed, try again later"
	case notServed(err):
		return "; does this server serve secret.grafana.app? See \"kubectl api-resources --api-group=secret.grafana.app\""
	}
	return ""
}

// notServed tells a path that is not served from an object that does not exist.
func notServed(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Name == "" || apierrors.HasStatusCause(err, "UnexpectedServerResponse")
}

// Flags says what is wrong with a flag without what was given for it.
func Flags(command *cobra.Command, err error) error {
	see := fmt.Sprintf("; see %q", command.CommandPath()+" --help")
	var invalid *pflag.InvalidValueError
	var absent *pflag.NotExistError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: what was given is no %s%s", invalid.GetFlag().Name, kind(invalid.GetFlag()), see)
	case errors.As(err, &absent) && absent.GetSpecifiedShortnames() != "":
		return fmt.Errorf("unknown flag -%.1s%s", absent.GetSpecifiedShortnames(), see)
	case errors.As(err, &syntax):
		return fmt.Errorf("a flag is written in a wrong way%s", see)
	}
	return fmt.Errorf("%w%s", err, see)
}

// kind says in words what a flag takes.
func kind(flag *pflag.Flag) string {
	switch flag.Value.Type() {
	case "bool":
		return "true or false"
	case "int", "int64":
		return "whole number"
	case "stringToString":
		return "list of KEY=VALUE"
	default:
		return flag.Value.Type()
	}
}

// Name takes the one argument NAME. More arguments are counted, not repeated.
func Name(command *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return fmt.Errorf("give the NAME of the secure value; see %q", command.CommandPath()+" --help")
	case 1:
		return nil
	default:
		return fmt.Errorf("give one NAME, and no value as an argument: it would stay in the history of your shell; see %q", command.CommandPath()+" --help")
	}
}
