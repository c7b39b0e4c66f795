// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/controller/manager"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// reference is a variable in an argument, as kubelet replaces it.
var reference = regexp.MustCompile(`\$\(([A-Z_]+)\)`)

// args are the arguments as the program gets them.
func args(t *testing.T, p pod, c corev1.Container) []string {
	t.Helper()
	env := map[string]string{}
	for _, v := range c.Env {
		switch {
		case v.ValueFrom == nil:
			env[v.Name] = v.Value
		case v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath == "metadata.name":
			env[v.Name] = p.owner.GetName() + "-0"
		}
	}
	var expanded []string
	for _, arg := range c.Args {
		expanded = append(expanded, reference.ReplaceAllStringFunc(arg, func(ref string) string {
			value, ok := env[reference.FindStringSubmatch(ref)[1]]
			if !ok {
				t.Errorf("%s: container %s has no variable for %s", id(p.owner), c.Name, ref)
			}
			return value
		}))
	}
	return expanded
}

// parse gives arguments to the flags of a binary and returns what it validates.
func parse(t *testing.T, sets cliflag.NamedFlagSets, args []string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		fs.AddFlagSet(set)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if fs.NArg() != 0 {
		t.Errorf("arguments that are not flags: %q", fs.Args())
	}
	return fs
}

func TestServerFlags(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-apiserver")
		c := p.container(t, "secret-apiserver")
		opts := options.NewOptions()
		fs := parse(t, opts.Flags(), args(t, p, c))
		if err := errors.Join(opts.Complete().Validate()...); err != nil {
			t.Errorf("the server refuses its flags: %v", err)
		}
		for _, name := range []string{
			"tls-cert-file", "tls-private-key-file", "etcd-cafile", "etcd-certfile", "etcd-keyfile",
			"encryption-provider-config", "audit-policy-file", "decrypt-audit-key-file",
		} {
			mounted(t, p, c, fs.Lookup(name).Value.String())
		}
		for name, port := range map[string]string{"https": "secure-port", "decrypt": "decrypt-port"} {
			if at := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name }); at < 0 || fmt.Sprint(c.Ports[at].ContainerPort) != fs.Lookup(port).Value.String() {
				t.Errorf("port %s is not --%s", name, port)
			}
		}
		for server := range strings.SplitSeq(strings.Trim(fs.Lookup("etcd-servers").Value.String(), "[]"), ",") {
			if !strings.HasPrefix(server, "https://") {
				t.Errorf("etcd is reached without TLS: %s", server)
			}
		}
	})
}

// TestOwnDecrypter builds the overlay that docs/operations.md shows.
func TestOwnDecrypter(t *testing.T) {
	const patch = "- {op: add, path: /spec/template/spec/containers/0/args/-, value: '--allowed-decrypters=k6-cloud,checkout'}"
	for _, file := range []string{"../../docs/operations.md", "testdata/own-decrypter/kustomization.yaml"} {
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), patch) {
			t.Errorf("%s lacks the patch: %v", file, err)
		}
	}
	objects := build(t, builds["decrypter"])
	p := getPod(t, objects, "secret-apiserver")
	opts := options.NewOptions()
	parse(t, opts.Flags(), args(t, p, p.container(t, "secret-apiserver")))
	if !slices.Equal(opts.Decrypt.AllowedDecrypters, []string{"k6-cloud", "checkout"}) {
		t.Errorf("allowed are %q", opts.Decrypt.AllowedDecrypters)
	}
}

// mounted checks that a file is in a volume of the container, and, when the volume lists its files, in that list.
func mounted(t *testing.T, p pod, c corev1.Container, file string) {
	t.Helper()
	for _, mount := range c.VolumeMounts {
		if path.Dir(file) != mount.MountPath {
			continue
		}
		if !mount.ReadOnly {
			t.Errorf("%s is mounted to be written", file)
		}
		for _, volume := range p.spec.Volumes {
			if volume.Name != mount.Name || volume.Secret == nil || volume.Secret.Items == nil {
				continue
			}
			if !slices.ContainsFunc(volume.Secret.Items, func(i corev1.KeyToPath) bool { return i.Path == path.Base(file) }) {
				t.Errorf("%s is not among the files of volume %s", file, volume.Name)
			}
		}
		return
	}
	t.Errorf("%q is in no volume of %s", file, c.Name)
}

func TestControllerManagerFlags(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-controller-manager")
		opts := manager.NewOptions()
		parse(t, opts.Flags(), args(t, p, p.container(t, "secret-controller-manager")))
		if err := errors.Join(opts.Validate()...); err != nil {
			t.Errorf("the controller manager refuses its flags: %v", err)
		}
	})
}

func TestOwnCAIsTurnedOnByItsComponentOnly(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-controller-manager")
		opts := manager.NewOptions()
		parse(t, opts.Flags(), args(t, p, p.container(t, "secret-controller-manager")))
		var component bool
		for _, o := range objects {
			component = component || o.GetName() == "secret.grafana.app:own-ca"
		}
		if on := len(opts.Certificates.Authorities) > 0; on != component {
			t.Errorf("--own-ca is %v, its rights are there: %t", opts.Certificates.Authorities, component)
		}
		if !opts.Certificates.Publish {
			t.Error("--publish-ca is missing: applications get no CA")
		}
	})
}

// TestEtcdFlags gives the arguments to the flags of etcd itself, of the version that is deployed.
func TestEtcdFlags(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-etcd")
		c := p.container(t, "etcd")
		config := embed.NewConfig()
		fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		config.AddFlags(fs)
		given := map[string]string{}
		for _, arg := range args(t, p, c) {
			name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			given[name] = value
			if fs.Lookup(name) == nil {
				t.Errorf("etcd has no flag --%s", name)
			}
		}
		for _, name := range []string{"trusted-ca-file", "cert-file", "key-file", "peer-trusted-ca-file", "peer-cert-file", "peer-key-file"} {
			mounted(t, p, c, given[name])
		}
		for _, name := range []string{"client-cert-auth", "peer-client-cert-auth"} {
			if given[name] != "true" {
				t.Errorf("--%s is %q", name, given[name])
			}
		}
		members := strings.Split(given["initial-cluster"], ",")
		replicas := *getStatefulSet(t, objects).Spec.Replicas
		if len(members) != int(replicas) {
			t.Errorf("%d members for %d replicas", len(members), replicas)
		}
		if want := given["name"] + "=" + given["initial-advertise-peer-urls"]; !slices.Contains(members, want) {
			t.Errorf("%s is not among the members %q", want, members)
		}
	})
}

// TestMemoryLimits: the garbage collector is told of nine tenths of what the kernel allows, in every build.
func TestMemoryLimits(t *testing.T) {
	for name, folder := range builds {
		server := getPod(t, build(t, folder), "secret-apiserver").container(t, "secret-apiserver")
		hard := server.Resources.Limits.Memory().Value()
		for _, v := range server.Env {
			if v.Name != "GOMEMLIMIT" {
				continue
			}
			soft := resource.MustParse(strings.TrimSuffix(v.Value, "B")) // Go writes MiB, Kubernetes Mi
			if s := soft.Value(); s > hard*92/100 || s < hard*88/100 {
				t.Errorf("%s: GOMEMLIMIT is %s, of a limit of %s", name, v.Value, server.Resources.Limits.Memory())
			}
			hard = 0
		}
		if hard != 0 {
			t.Errorf("%s: no GOMEMLIMIT, or no limit", name)
		}
	}
}
