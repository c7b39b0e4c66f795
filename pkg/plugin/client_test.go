// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// kubeconfig writes a file with the contexts a and b, each with a server named after it and the file, and a namespace.
func kubeconfig(t *testing.T, name string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	for _, context := range []string{"a", "b"} {
		config.Clusters[context] = &clientcmdapi.Cluster{Server: "https://" + name + "-" + context}
		config.Contexts[context] = &clientcmdapi.Context{Cluster: context, Namespace: "in-" + context}
	}
	config.CurrentContext = "a"
	file := filepath.Join(t.TempDir(), name)
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOr(t *testing.T) {
	here, there := kubeconfig(t, "here"), kubeconfig(t, "there")
	for name, test := range map[string]struct {
		args            []string
		host, namespace string
	}{
		"nothing":               {nil, "https://here-a", "in-a"},
		"namespace":             {[]string{"--source-namespace=n"}, "https://here-a", "n"},
		"context":               {[]string{"--source-context=b"}, "https://here-b", "in-b"},
		"context and namespace": {[]string{"--source-context=b", "--source-namespace=n"}, "https://here-b", "n"},
		"kubeconfig":            {[]string{"--source-kubeconfig=" + there}, "https://there-a", "in-a"},
		"all": {
			[]string{"--source-kubeconfig=" + there, "--source-context=b", "--source-namespace=n"},
			"https://there-b", "n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			streams := genericiooptions.NewTestIOStreamsDiscard()
			target, source := newFactory(streams), newFactory(streams)
			fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
			target.flags.AddFlags(fs)
			source.addSourceFlags(fs)
			if err := fs.Parse(append(test.args, "--kubeconfig="+here)); err != nil {
				t.Fatal(err)
			}
			from := target.or(source)
			config, err := from.restConfig()
			if err != nil {
				t.Fatal(err)
			}
			namespace, err := from.currentNamespace()
			if err != nil || config.Host != test.host || namespace != test.namespace {
				t.Errorf("%s, %s, %v, want %s, %s", config.Host, namespace, err, test.host, test.namespace)
			}
			// What is written stays where it was.
			if config, err = target.restConfig(); err != nil || config.Host != "https://here-a" {
				t.Errorf("the target is %s, %v", config.Host, err)
			}
		})
	}
}

func TestRelate(t *testing.T) {
	user, other := subject{Kind: rbacv1.UserKind, Name: "u"}, subject{Kind: rbacv1.UserKind, Name: "v"}
	team, ops := subject{Kind: rbacv1.GroupKind, Name: "team"}, subject{Kind: rbacv1.GroupKind, Name: "ops"}
	everybody := subject{Kind: rbacv1.GroupKind, Name: "system:authenticated"}
	accounts := subject{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"}
	jobs := subject{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts:jobs"}
	batch := newSubject(rbacv1.Subject{Kind: rbacv1.UserKind, Name: "system:serviceaccount:jobs:batch"})
	elsewhere := newSubject(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "web", Name: "batch"})
	for _, test := range []struct {
		a, b subject
		want relation
	}{
		{user, other, relNone},
		{user, team, relSome},
		{team, ops, relSome},
		{user, everybody, relFirst},
		{everybody, team, relSecond},
		{batch, everybody, relFirst},
		{batch, accounts, relFirst},
		{batch, jobs, relFirst},
		{elsewhere, jobs, relNone},
		{jobs, accounts, relFirst},
		{accounts, jobs, relSecond},
		{batch, team, relNone},
		{jobs, team, relNone},
		{user, jobs, relNone},
		{batch, elsewhere, relNone},
		{batch, user, relNone},
	} {
		if got := relate(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// TestAttackKeyNameOnTheTerminal: a server of another version may return what was written to etcd directly.
func TestAttackKeyNameOnTheTerminal(t *testing.T) {
	found := &tally{keys: map[types.NamespacedName]string{}, counts: map[string]int64{}}
	for name, key := range map[string]string{"a": "aesgcm/\x1b[2Jgone", "b": "aesgcm/\xff", "c": "aesgcm/team:2026"} {
		found.put(&v1beta1.SecureValue{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Status: v1beta1.SecureValueStatus{Key: key},
		})
	}
	report := found.report()
	out := report.table()
	for _, want := range []string{"unreadable         2", "aesgcm/team:2026   1"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "\xff") {
		t.Errorf("the terminal gets %q", out)
	}
}

// The plugin does not link packages that make up a third of the size of a binary and that it does not use.
func TestLinkedPackages(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	for _, unwanted := range []string{
		"go.etcd.io/etcd/client/v3", "google.golang.org/grpc", "github.com/google/cel-go/cel",
		"k8s.io/client-go/kubernetes", "github.com/spf13/cobra/doc",
	} {
		if slices.Contains(linked, unwanted) {
			t.Errorf("%s is linked", unwanted)
		}
	}
}
