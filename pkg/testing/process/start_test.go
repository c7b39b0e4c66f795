// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"flag"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// One server's life: first start, the banner's commands, a stop, a second start on another port, a kill, a third start.
func TestLife(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--secure-port=" + harness.FreePort(t)}})
	t.Run("files", func(t *testing.T) { wantPrivate(t, s.DataDir) })
	t.Run("banner", func(t *testing.T) { wantBanner(t, s) })
	t.Run("commands of the banner", func(t *testing.T) { pasteBanner(t, s) })
	t.Run("kubeconfig", func(t *testing.T) {
		out, errs, err := s.Kubectl(t, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}")
		if err != nil || out != `admin ["system:masters","system:authenticated"]` {
			t.Errorf("auth whoami: %v %s%s", err, out, errs)
		}
	})
	t.Run("the token is in the kubeconfig only", func(t *testing.T) { wantTokenInKubeconfigOnly(t, s) })
	t.Run("a second server on the folder", func(t *testing.T) { refuseSecond(t, s) })
	created := s.Create(t, "life", "kept", harness.Canary())
	s.Stop(t)
	wantStopOrder(t, s)

	before := tree(t, s.DataDir)
	delete(before, "decrypt-audit/decrypt.log") // a start adds a line
	second := harness.Start(t, harness.Options{DataDir: s.DataDir, Args: []string{"--secure-port=" + harness.FreePort(t)}})
	if strings.Contains(string(harness.ReadFile(t, second.OutFile)), "kubectl") {
		t.Error("a second start shows the tutorial again")
	}
	t.Run("second start", func(t *testing.T) { wantReused(t, s, second, before, created) })
	again := second.Create(t, "life", "before-the-kill", harness.Canary())
	second.Kill()

	third := harness.Start(t, harness.Options{DataDir: s.DataDir})
	t.Run("start after a kill", func(t *testing.T) {
		wantKept(t, third, created)
		wantKept(t, third, again)
		if third.AdminToken != s.AdminToken {
			t.Error("the admin token changed")
		}
		wantPrivate(t, third.DataDir)
	})
}

// wantPrivate checks that nobody else can reach a file: folders 0700, files 0600, inside of etcd too.
func wantPrivate(t *testing.T, dir string) {
	t.Helper()
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(dir, path)
		seen[relative] = true
		if info.Mode().Type() == fs.ModeSocket {
			return nil // a folder of mode 0700 is what guards a socket
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm()&^want != 0 {
			t.Errorf("%s has mode %s", relative, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"admin.kubeconfig", "admin-token.sha256", "encryption.yaml", "lock", "etcd/member",
		"decrypt-audit/decrypt.log", "decrypt-audit.key", "pki/ca.crt", "pki/ca.key", "pki/serving.crt", "pki/serving.key",
	} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func wantBanner(t *testing.T, s *harness.Server) {
	t.Helper()
	got := string(harness.ReadFile(t, s.OutFile))
	got = strings.ReplaceAll(got, s.DataDir, "DATA")
	got = strings.ReplaceAll(got, strings.TrimPrefix(s.URL, "https://"), "127.0.0.1:PORT")
	got = strings.ReplaceAll(got, strings.TrimPrefix(s.DecryptURL, "https://"), "127.0.0.1:DECRYPT-PORT")
	wantGolden(t, filepath.Join("testdata", "banner.txt"), got)
	if strings.Contains(got, "sva_") {
		t.Error("the banner holds the admin token")
	}
}

func wantGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(harness.ReadFile(t, file)), got); diff != "" {
		t.Errorf("%s (-want +got), rewrite with -update:\n%s", file, diff)
	}
}

// pasteBanner runs every command of the banner in a shell, the pinned kubectl first in its path.
func pasteBanner(t *testing.T, s *harness.Server) {
	t.Helper()
	_, script, ok := strings.Cut(string(harness.ReadFile(t, s.OutFile)), "goes on from here.\n")
	if !ok {
		t.Fatal("no commands in the banner")
	}
	shell := exec.CommandContext(t.Context(), "bash", "-o", "errexit", "-o", "nounset", "-o", "pipefail")
	shell.Env = append(shell.Environ(), "HOME="+t.TempDir(), "CURL_HOME="+t.TempDir(),
		"PATH="+filepath.Dir(harness.KubectlBinary(t))+":"+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	shell.Stdin, shell.Stdout, shell.Stderr = strings.NewReader(script), &out, &errs
	if err := shell.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, errs.String(), out.String())
	}
	for _, want := range []string{
		"securevalue.secret.grafana.app/api-key created",
		"  name: api-key\n", "  description: External API Key\n", "  version: 1\n",
		"NAME      DESCRIPTION        DECRYPTERS             VERSION   AGE\napi-key   External API Key   synthetic-monitoring   1 ",
		`"name": "api-key-2"`, `"kind": "SecureValueList"`, `"message":"not authorized"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the commands did not print %q but\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String()+errs.String(), "value:") || strings.Contains(out.String(), `"value"`) {
		t.Errorf("the commands print a value:\n%s", out.String())
	}
	if strings.Contains(out.String(), `"status": "Failure"`) {
		t.Errorf("a command failed:\n%s", out.String())
	}
}

func wantTokenInKubeconfigOnly(t *testing.T, s *harness.Server) {
	t.Helper()
	err := filepath.WalkDir(s.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		found := bytes.Contains(harness.ReadFile(t, path), []byte(s.AdminToken))
		if found != (path == s.Kubeconfig) {
			t.Errorf("%s holds the admin token: %t", path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{s.LogFile, s.OutFile, s.AuditFile} {
		if bytes.Contains(harness.ReadFile(t, file), []byte(s.AdminToken)) {
			t.Errorf("%s holds the admin token", file)
		}
	}
}

// refuseSecond starts a second server on a folder in use, with its own etcd and with another one, and on the port.
func refuseSecond(t *testing.T, s *harness.Server) {
	t.Helper()
	holder := regexp.QuoteMeta("in use by process ") + `\d+; stop it or choose another --data-dir`
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"embedded etcd": {[]string{"--secure-port=0"}, holder},
		"another etcd":  {[]string{"--secure-port=0", "--etcd-servers=http://127.0.0.1:1"}, holder},
		"the same port": {[]string{"--secure-port=" + s.URL[strings.LastIndex(s.URL, ":")+1:]}, "choose another --secure-port"},
	} {
		out, code := harness.Fail(t, append([]string{"--standalone", "--data-dir=" + s.DataDir}, test.args...)...)
		if code != 1 || len(lines(out)) != 1 || !regexp.MustCompile("^error: .*"+test.want).MatchString(out) {
			t.Errorf("%s: exit code %d, %s", name, code, out)
		}
	}
	if got := s.Get(t, "/readyz", "").Code; got != http.StatusOK {
		t.Errorf("the first server is not ready any more: %d", got)
	}
}

// wantStopOrder checks that etcd was closed after the API server.
func wantStopOrder(t *testing.T, s *harness.Server) {
	t.Helper()
	log := s.Log(t)
	api, db := strings.LastIndex(log, "Stopped listening on"), strings.LastIndex(log, "Embedded etcd is closed")
	if api < 0 || db < api {
		t.Errorf("API server stopped at byte %d of the log, etcd at %d", api, db)
	}
	if strings.Contains(log, "panic") {
		t.Error("the log tells of a panic")
	}
}

// wantReused compares the files of a second start with the first: only the kubeconfig follows the port.
func wantReused(t *testing.T, first, second *harness.Server, before map[string]string, created map[string]any) {
	t.Helper()
	after := tree(t, second.DataDir)
	for name, was := range before {
		switch is := after[name]; {
		case strings.HasPrefix(name, "etcd/"):
		case name == "admin.kubeconfig" && is == was:
			t.Error("the kubeconfig did not follow the port")
		case name != "admin.kubeconfig" && is != was:
			t.Errorf("%s changed", name)
		}
	}
	if first.AdminToken != second.AdminToken {
		t.Error("the admin token changed")
	}
	wantKept(t, second, created)
	if out, errs, err := second.Kubectl(t, "", "get", "sv", "-A", "-o", "name"); err != nil {
		t.Errorf("kubectl with the kubeconfig of the second start: %v %s%s", err, out, errs)
	}
}

// wantKept reads an object and compares it with what its create answered.
func wantKept(t *testing.T, s *harness.Server, created map[string]any) {
	t.Helper()
	meta := created["metadata"].(map[string]any)
	path := harness.Collection(meta["namespace"].(string)) + "/" + meta["name"].(string)
	got := s.Get(t, path, s.AdminToken).Object(t)
	if diff := cmp.Diff(created, got); diff != "" {
		t.Errorf("%s changed (-was +is):\n%s", path, diff)
	}
}

// A umask that takes the owner's right to write does not end in files that the second start cannot write.
func TestUmaskThatTakesTheOwnersRights(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 {
		old := syscall.Umask(0o277)
		s := harness.Start(t, harness.Options{DataDir: dir})
		syscall.Umask(old)
		wantPrivate(t, s.DataDir)
		s.Stop(t)
	}
}

// A data folder that is a link to nothing is refused in words that say so.
func TestDataFolderIsALinkToNothing(t *testing.T) {
	link := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink(filepath.Join(t.TempDir(), "gone"), link); err != nil {
		t.Fatal(err)
	}
	if out, code := harness.Fail(t, "--standalone", "--data-dir="+link, "--secure-port=0"); code != 1 || !strings.Contains(out, "is a symbolic link to nothing") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// A folder whose parents do not exist is made, and a umask that gives nearly everything away is not followed.
func TestIncident20NewFolderUnderOpenUmask(t *testing.T) {
	old := syscall.Umask(0o002) // with 0 the files of the test itself would be refused
	defer syscall.Umask(old)
	s := harness.Start(t, harness.Options{DataDir: filepath.Join(t.TempDir(), "it's", "a folder")})
	wantPrivate(t, s.DataDir)
}
