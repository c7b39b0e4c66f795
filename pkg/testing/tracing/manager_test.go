// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/collector"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestControllerManager: what the controllers ask of the server is in one trace with how the server answers.
func TestControllerManager(t *testing.T) {
	c := collector.Start(t)
	config := c.Config(t, 1_000_000)
	s := start(t, config)
	manager := exec.CommandContext(t.Context(), harness.ControllerManagerBinary(t), "--kubeconfig="+s.Kubeconfig, "--leader-elect=false",
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--logging-format=json", "--tracing-config-file="+config)
	var log bytes.Buffer
	manager.Stderr = &log
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	asked := c.Wait(t, "the controllers", func(span collector.Span) bool {
		return span.Service == "secret-controller-manager" && strings.Contains(span.Attributes["url.full"], "/apis/secret.grafana.app/v1beta1")
	})
	c.Wait(t, "the server", func(span collector.Span) bool { return span.Service == "secret-apiserver" && span.Parent == asked.ID })
	if err := manager.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := manager.Wait(); err != nil {
		t.Errorf("the controller manager ended with %v", err)
	}
	wantJSONLines(t, log.String())
}
