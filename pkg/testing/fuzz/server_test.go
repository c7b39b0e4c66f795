// SPDX-License-Identifier: Apache-2.0

package fuzz

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/component-base/logs"

	"github.com/securevalue/secret-apiserver/pkg/server"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	// stored is the value of the object "one", which nobody may ever be shown. served is that of "open", which k6 may
	// have.
	stored = "Stored-Zq7RtK2mWx9LbV4cUe5n"
	served = "Served-Hy3NpQ8sDf6JkT1vBa0w"
	// written marks a value in a request.
	written = "Written-Xo4MgC7yRi2EuL9zPd8h"

	k6Token = "token-of-k6"
	// startTimeout bounds a start on a busy machine; it is not a claim about speed.
	startTimeout = 90 * time.Second
)

var bindings = harness.ClusterRole("k6", harness.Rule("decrypt", "securevalues"), harness.Rule("use", "decrypters", "k6-cloud")) +
	harness.Grant("k6", "k6", "default")

// target is the server of this process.
type target struct {
	api, decrypt, token string
	client              *http.Client
}

// theTarget is started once: a fuzzing worker runs millions of requests against it.
var theTarget = sync.OnceValues(startTarget)

var dataDir string

func TestMain(m *testing.M) {
	logs.InitLogs()
	dir, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		panic(err)
	}
	dataDir = dir
	code := m.Run()
	stop()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// stop ends the server, if there is one, and waits until it has closed its files.
var stop = func() {}

// output collects what the command prints.
type output struct {
	sync.Mutex
	bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.Lock()
	defer o.Unlock()
	return o.Buffer.Write(p)
}

func (o *output) text() string {
	o.Lock()
	defer o.Unlock()
	return o.String()
}

func startTarget() (*target, error) {
	files := map[string]string{"tokens.csv": harness.Token(k6Token, "k6") + "\n", "rbac/k6.yaml": bindings}
	if err := os.Mkdir(filepath.Join(dataDir, "rbac"), 0o700); err != nil {
		return nil, err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dataDir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := server.NewCommand(ctx)
	out, ended := &output{}, make(chan error, 1)
	command.SetOut(out)
	command.SetArgs([]string{
		"--standalone", "--data-dir=" + filepath.Join(dataDir, "data"), "--secure-port=0", "--decrypt-port=auto",
		"--decrypt-audit-fsync=never",
		"--token-auth-file=" + filepath.Join(dataDir, "tokens.csv"), "--rbac-dir=" + filepath.Join(dataDir, "rbac"),
	})
	go func() { ended <- command.Execute() }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "the server ended with", err)
		}
	}
	if err := waitReady(out, ended); err != nil {
		return nil, err
	}
	t, err := newTarget(out.text())
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"one": stored, "open": served} {
		decrypters := map[string]string{"one": "synthetic-monitoring", "open": "k6-cloud"}[name]
		body := fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"description":"d","value":%q,"decrypters":[%q]}}`, name,
			value, decrypters)
		if code, answer, err := t.do(t.api, t.token, http.MethodPost, harness.Collection("default"),
			"application/json", []byte(body)); err != nil || code != http.StatusCreated {
			return nil, fmt.Errorf("creating %s: %d %s %w", name, code, answer, err)
		}
	}
	return t, nil
}

func waitReady(out *output, ended <-chan error) error {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(out.text(), "listens on") {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the server ended before it was ready: %w", err)
		default:
		}
	}
	return errors.New("the server was not ready in time")
}

var (
	apiLine     = regexp.MustCompile(`(?m)^  API +(https://\S+)`)
	decryptLine = regexp.MustCompile(`(?m)^  decrypt +(https://\S+)`)
	tokenLine   = regexp.MustCompile(`(?m)^ *token: (\S+)`)
)

func newTarget(banner string) (*target, error) {
	kubeconfig, err := os.ReadFile(filepath.Join(dataDir, "data", "admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dataDir, "data", "pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &target{
		api: apiLine.FindStringSubmatch(banner)[1], decrypt: decryptLine.FindStringSubmatch(banner)[1],
		token: string(tokenLine.FindSubmatch(kubeconfig)[1]),
		client: &http.Client{
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
				ForceAttemptHTTP2: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       time.Minute,
		},
	}, nil
}

// do sends a request and returns code, and header and body in one.
func (t *target) do(url, token, method, path, contentType string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", contentType)
	response, err := t.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer bytes.Buffer
	_ = response.Header.Write(&answer) // to memory
	_, err = io.Copy(&answer, response.Body)
	_ = response.Trailer.Write(&answer)
	return response.StatusCode, answer.Bytes(), err
}

// start returns the target, or ends the test.
func start(tb testing.TB) *target {
	tb.Helper()
	t, err := theTarget()
	if err != nil {
		tb.Fatal(err)
	}
	return t
}
