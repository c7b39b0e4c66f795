// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestExamples runs the agent of each example as its container would: with its arguments and variables, and other
// places for what a node has.
func TestExamples(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, name := range []string{"db-password", "api-key", "web-key", "web-certificate"} {
		s.create(t, name, s.canary())
	}
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "docs", "examples", "pods", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "csi.yaml" {
			continue // its Pod has no agent: see TestCSIAccepts
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			var deployment appsv1.Deployment
			if err := yaml.UnmarshalStrict(harness.ReadFile(t, file), &deployment); err != nil {
				t.Fatal(err)
			}
			pod := deployment.Spec.Template.Spec
			found := 0
			for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
				line := slices.Concat(container.Command, container.Args)
				if !strings.Contains(container.Image, "secret-agent") && !strings.Contains(strings.Join(line, " "), "secret-agent") {
					continue
				}
				found++
				s.runContainer(t, container, line)
			}
			if found != 1 {
				t.Errorf("%d containers run secret-agent", found)
			}
		})
	}
}

// runContainer runs the agent of a container until its files are there.
func (s *suite) runContainer(t *testing.T, container corev1.Container, line []string) {
	t.Helper()
	line = slices.DeleteFunc(line, func(word string) bool { return strings.HasSuffix(word, "/secret-agent") })
	flags, command := line[1:], []string(nil)
	if at := slices.Index(flags, "--"); at >= 0 {
		flags, command = flags[:at], []string{"--", "true"}
	}
	dir := t.TempDir()
	flags = append(slices.Clone(flags), "--server="+s.DecryptURL, "--ca-file="+s.CAFile, "--token-file="+s.token, "--namespace=default", "--dir="+dir)
	a := s.command(t, line[0])
	a.command.Args = slices.Concat([]string{a.command.Path, line[0]}, flags, command)
	a.command.Env = os.Environ()
	for _, variable := range container.Env {
		a.command.Env = append(a.command.Env, variable.Name+"="+strings.Replace(variable.Value, "/secrets", dir, 1))
	}
	a.start(t)
	if container.StartupProbe != nil {
		probe := container.StartupProbe.Exec.Command
		harness.Eventually(t, "the startupProbe succeeds", func() bool {
			p := s.command(t, "")
			p.command.Args, p.command.Env = append([]string{p.command.Path}, probe[1:]...), a.command.Env
			return p.start(t).end(t) == 0
		})
		if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if code := a.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, a.output())
	}
	if _, err := os.Stat(filepath.Join(dir, "..data")); err != nil && line[0] != "run" {
		t.Errorf("no files: %v", err)
	}
}
