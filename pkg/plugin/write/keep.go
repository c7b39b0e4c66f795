// SPDX-License-Identifier: Apache-2.0

package write

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/input"
)

// keepAny is --keep-decrypters without a list. No decrypter has this name.
const keepAny = "*"

// keeping is whether a new value may go to the decrypters that an object has. Another user may have put one there, with
// a junk value, to get the value that repairs it.
type keeping struct {
	flag string
	// agreed is the list that was looked at, once it was.
	agreed sets.Set[string]
}

func (k *keeping) addFlag(fs *pflag.FlagSet) {
	fs.StringVar(&k.flag, "keep-decrypters", "", "Write the value without asking when other users listed decrypters. "+
		"With `SERVICE,...`, only if the list is exactly that.")
	fs.Lookup("keep-decrypters").NoOptDefVal = keepAny
}

// agree returns an error unless the flag allows the list of an object, or the user knows it, or says yes on the
// terminal.
func (k *keeping) agree(ctx context.Context, factory *cluster.Factory, sv *v1beta1.SecureValue) error {
	list := sets.New(sv.Spec.Decrypters...)
	switch {
	case k.flag == keepAny || k.agreed.Equal(list) && k.agreed != nil:
		return nil
	case k.flag != "" && list.Equal(sets.New(strings.Split(k.flag, ",")...)):
		return nil
	case k.flag != "":
		return fmt.Errorf("--keep-decrypters: %s has other decrypters, %s; nothing was written", sv.Name, describe(sv))
	}
	history := secret.HistoryOf(sv.Annotations)
	if unseen := history.Unseen(sv.Spec.Decrypters, myName(ctx, factory)); len(unseen) > 0 {
		if err := ask(ctx, factory, sv, history.Describe(unseen)); err != nil {
			return err
		}
	}
	k.agreed = list
	return nil
}

// myName is "" when the server does not tell: then all of the list was made by others.
func myName(ctx context.Context, factory *cluster.Factory) string {
	clients, err := factory.Kubernetes()
	if err != nil {
		return ""
	}
	who, err := cluster.Whoami(ctx, clients.AuthenticationV1())
	if err != nil {
		return ""
	}
	return who.GetName()
}

func ask(ctx context.Context, factory *cluster.Factory, sv *v1beta1.SecureValue, unseen string) error {
	const text = "%s can be opened by %s.\nListed by other users since you last wrote a value: %s.\n"
	fmt.Fprintf(factory.ErrOut, text, sv.Name, describe(sv), unseen) //nolint:errcheck // the answer is what matters
	yes, err := input.Confirm(ctx, factory.IOStreams, "Write the new value for these decrypters? (yes/no): ")
	switch {
	case errors.Is(err, input.ErrNoTerminal):
		return fmt.Errorf("decrypters of %s were listed by other users since you last wrote a value; "+
			"--keep-decrypters=%s writes it for them, or take some off the list first; nothing was written",
			sv.Name, strings.Join(sv.Spec.Decrypters, ","))
	case err != nil:
		return err
	case !yes:
		return errors.New("nothing was written")
	}
	return nil
}

// describe is the list of an object and who changed it last.
func describe(sv *v1beta1.SecureValue) string {
	text := "no service"
	if len(sv.Spec.Decrypters) > 0 {
		text = strings.Join(slices.Sorted(slices.Values(sv.Spec.Decrypters)), ", ")
	}
	if by := sv.Annotations[secret.AnnotationDecryptersChangedBy]; by != "" {
		return fmt.Sprintf("%s (list last changed by %q)", text, by)
	}
	return fmt.Sprintf("%s (list made by %q)", text, sv.Annotations[secret.AnnotationCreatedBy])
}
