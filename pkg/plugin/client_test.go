// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
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
