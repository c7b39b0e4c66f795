// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patience bounds a wait on a busy machine.
const patience = 2 * time.Minute

const (
	namespace = "default"
	k6Token   = "token-of-k6"
	bindK6    = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: k6, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'secret.grafana.app:decrypter-k6-cloud'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: k6}]
`
)

// start runs a server on which user k6 may open what lists k6-cloud.
func start(t *testing.T, dataDir string, args ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Options{
		DataDir: dataDir, Tokens: []string{harness.Token(k6Token, "k6")}, RBAC: []string{bindK6},
		RBACFiles: []string{"config/rbac/decrypter-k6-cloud.yaml"}, Args: args,
	})
}

func client(t *testing.T, s *harness.Server) typed.SecureValueInterface {
	t.Helper()
	return versioned.NewForConfigOrDie(s.RESTConfig(t, "")).SecretV1beta1().SecureValues(namespace)
}

func newValue(name, value string) *v1beta1.SecureValue {
	return &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1beta1.SecureValueSpec{Description: "test", Value: sensitive.New(value), Decrypters: []string{"k6-cloud"}},
	}
}

// fill stores n values of about size bytes and returns them by NAMESPACE/NAME.
func fill(t *testing.T, s *harness.Server, n, size int) map[string]string {
	t.Helper()
	values, stored := client(t, s), map[string]string{}
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		name, value := fmt.Sprintf("value-%d", i), harness.Canary()
		value += strings.Repeat("x", max(size-len(value), 0))
		stored[namespace+"/"+name] = value
		group.Go(func() error {
			_, err := values.Create(t.Context(), newValue(name, value), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return stored
}

// must executes the server's binary as a tool that ends well, and returns its output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("secret-apiserver %s: code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// refused executes the server's binary as a tool that must fail with one line that holds want.
func refused(t *testing.T, want string, args ...string) string {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, args...)
	if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "goroutine") {
		t.Errorf("secret-apiserver %s: want one line with %q, code %d\n%s%s", strings.Join(args, " "), want, code, stdout, stderr)
	}
	return stdout + stderr
}

func file(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "backup.db")
}

func keys(dataDir string) string { return filepath.Join(dataDir, "encryption.yaml") }

// restore restores a backup into a new folder with the keys of another one.
func restore(t *testing.T, backup, keysFrom string) (dataDir string) {
	t.Helper()
	dataDir = filepath.Join(t.TempDir(), "restored")
	must(t, "restore", "--from="+backup, "--data-dir="+dataDir)
	harness.WriteFile(t, keys(dataDir), string(harness.ReadFile(t, keys(keysFrom))))
	return dataDir
}

// tree describes every file in a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Fprintln(&text, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return text.String()
}

// noCanary fails when an output holds a value.
func noCanary(t *testing.T, what string, data []byte, values map[string]string) {
	t.Helper()
	for _, value := range values {
		if found := harness.Find(data, value); len(found) > 0 {
			t.Errorf("%s holds %v", what, found)
		}
	}
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}
