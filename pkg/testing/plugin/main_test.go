// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/securevalue/secret-apiserver/pkg/plugin"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// Tokens of the callers.
const (
	creatorToken = "token-of-creator"
	writerToken  = "token-of-writer"
	ownerToken   = "token-of-owner"
	readerToken  = "token-of-reader"
)

func TestMain(m *testing.M) {
	run := func() { os.Exit(plugin.Main()) }
	testscript.Main(m, map[string]func(){"kubectl-securevalue": run, "kubectl_complete-securevalue": run})
}

// startServer starts the server that all scripts share.
func startServer(t *testing.T) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Options{RBACFiles: []string{"config/rbac/decrypter-synthetic-monitoring.yaml"}}.WithK6("").
		With("creator", "creator", "").With("writer", "writer", "").With("reader", "reader", "").With("owner", "admin", "default"))
}

// suite is shared by all scripts.
type suite struct {
	server  *harness.Server
	program string
	mu      sync.Mutex
	// canaries are the values of all scripts.
	canaries []string
}

// TestScripts runs testdata/*.txtar.
func TestScripts(t *testing.T) {
	s := &suite{server: startServer(t)}
	kubectl := filepath.Dir(harness.KubectlBinary(t))
	s.program = harness.Binary(t)
	t.Cleanup(func() { s.server.Leaks(t, s.canaries...) }) // once the scripts, which run in parallel, have ended
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", Cmds: s.commands(),
		Setup: func(env *testscript.Env) error { return s.setup(env, kubectl) },
	})
}

// setup sets the namespace, kubeconfig and values of a script.
func (s *suite) setup(env *testscript.Env, kubectl string) error {
	namespace := strings.ToLower(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
	config, err := clientcmd.LoadFromFile(s.server.Kubeconfig)
	if err != nil {
		return err
	}
	for _, context := range config.Contexts {
		context.Namespace = namespace
	}
	kubeconfig := filepath.Join(env.WorkDir, ".kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		return err
	}
	canary, other := harness.Canary(), harness.Canary()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canaries = append(s.canaries, canary, other)
	env.Setenv("PATH", env.Getenv("PATH")+string(filepath.ListSeparator)+kubectl)
	env.Setenv("KUBECONFIG", kubeconfig)
	env.Setenv("NAMESPACE", namespace)
	env.Setenv("CANARY", canary)
	env.Setenv("OTHER", other)
	env.Setenv("CREATOR", creatorToken)
	env.Setenv("WRITER", writerToken)
	env.Setenv("READER", readerToken)
	env.Setenv("RBAC", s.server.RBACDir)
	env.Setenv("SERVER", s.program)
	env.Setenv("DATA", s.server.DataDir)
	env.Setenv("TERM", cmp.Or(os.Getenv("TERM"), "xterm"))
	env.Values[canariesKey{}] = []string{canary, other}
	return nil
}

// canariesKey identifies the values of a script.
type canariesKey struct{}
