// SPDX-License-Identifier: Apache-2.0

//go:build observe

package observe

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// howToInstall is what to do when a binary is missing: this suite is worth nothing when it is passed over.
const howToInstall = "run apt-get install --no-install-recommends prometheus (Debian, Ubuntu), or put prometheus and promtool into PATH"

// tool is the path of one of Prometheus' binaries.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: %s", err, howToInstall)
	}
	return path
}

// promtool runs a check and fails the test with what it says.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), tool(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, output)
	}
}

// prometheus is a running one.
type prometheus struct{ url, dir string }

// startPrometheus runs Prometheus with a configuration until the test ends, on a free port of loopback.
func startPrometheus(t *testing.T, config string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yaml")
	harness.WriteFile(t, file, config)
	promtool(t, "check", "config", file)
	address := harness.FreeAddress(t)
	p := &prometheus{url: "http://" + address, dir: filepath.Join(dir, "data")}
	logFile := filepath.Join(dir, "prometheus.log")
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(tool(t, "prometheus"), //nolint:noctx // ends with the cleanup below
		"--config.file="+file, "--storage.tsdb.path="+p.dir, "--web.listen-address="+address, "--log.level=warn")
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("the log of Prometheus:\n%s", harness.ReadFile(t, logFile))
		}
	})
	harness.Eventually(t, "Prometheus is ready", func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/-/ready", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// scrape starts Prometheus by the configuration of docs/metrics.md, with the addresses and files of this test. It looks
// once a second.
func scrape(t *testing.T, w *workload, controller string) *prometheus {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	harness.WriteFile(t, token, prometheusToken)
	config := yamlBlock(t, "scrape_configs:")
	for old, with := range map[string]string{
		"/etc/prometheus/secret-apiserver.rules.yaml": rulesFile(t),
		"/etc/prometheus/secret-apiserver.token":      token,
		"/etc/prometheus/secret-apiserver-ca.crt":     w.CAFile,
		"127.0.0.1:8443": strings.TrimPrefix(w.URL, "https://"),
		"127.0.0.1:8080": strings.TrimPrefix(controller, "http://"),
	} {
		if strings.Count(config, old) != 1 {
			t.Fatalf("the configuration of %s does not have %s once", page, old)
		}
		config = strings.Replace(config, old, with, 1)
	}
	return startPrometheus(t, "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"+config)
}

// get decodes the data of an answer of the HTTP API.
func (p *prometheus) get(t *testing.T, path string, into any) error {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// query returns the finite values of an instant query. A query that Prometheus refuses fails the test.
func (p *prometheus) query(t *testing.T, expression string) []float64 {
	t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.get(t, "/api/v1/query?query="+url.QueryEscape(expression), &data); err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	var values []float64
	for _, sample := range data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(sample.Value[1]), 64)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			values = append(values, value)
		}
	}
	return values
}
