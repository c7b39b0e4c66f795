// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

// checkOwner returns an error for a file that other users can read or own.
func checkOwner(path string, info fs.FileInfo, mode fs.FileMode) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user id %d, not to %d who runs this: run chown %[3]d %[4]s",
			path, st.Uid, os.Geteuid(), cli.Quote(path))
	}
	if got := info.Mode().Perm(); got&^mode != 0 {
		return fmt.Errorf("%s is accessible to other users (mode %04o): run chmod %o %s", path, got, mode,
			cli.Quote(path))
	}
	return nil
}

// checkDir returns why path cannot be used as a private directory. It may be absent: see makeDir.
func checkDir(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf(
				"%s is a symbolic link to nothing: make the folder that it points to, or choose another --data-dir",
				path)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading data directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: choose another --data-dir", path)
	}
	return checkOwner(path, info, 0o700)
}

func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("creating data directory, choose another --data-dir: %w", err)
	}
	return nil
}

// readPrivate returns the content of a file, or nil if it is absent. An empty file is an error: a full disk or a
// mistake leaves one, and a new key in its place would hide that.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: move it away", path)
	}
	if err := checkOwner(path, info, 0o600); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // a file of the data folder, checked above
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New(path + " is empty: restore it from a backup, or delete it if it never held anything")
	}
	return data, nil
}

// lockDir locks dir for this process. The kernel releases the lock when the process ends, so a leftover lock file does
// not matter.
func lockDir(dir string) (*fileutil.LockedFile, error) {
	path := filepath.Join(dir, "lock")
	f, err := fileutil.TryLockFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("data directory %s is in use by %s; stop it or choose another --data-dir", dir,
			holder(path))
	}
	if err != nil {
		return nil, fmt.Errorf("locking data directory %s: %w", dir, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", path, err), f.Close())
	}
	return f, nil
}

// holder returns the process that wrote its id into the lock file.
func holder(path string) string {
	f, err := os.Open(path) //nolint:gosec // the lock of the data folder
	if err != nil {
		return "another process"
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 32))
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil || pid <= 0 {
		return "another process"
	}
	return "process " + strconv.Itoa(pid)
}

func (d *Data) path(elem ...string) string { return filepath.Join(append([]string{d.dir}, elem...)...) }

func (d *Data) digestPath() string { return d.path("admin-token.sha256") }

// Dir is the absolute path of the data directory.
func (d *Data) Dir() string { return d.dir }

// EtcdDir is the directory of the embedded etcd.
func (d *Data) EtcdDir() string { return EtcdDir(d.dir) }

// EtcdDir is the directory of the embedded etcd in a data directory.
func EtcdDir(dataDir string) string { return filepath.Join(dataDir, "etcd") }

// TokenFile is the path of the tokens that grant makes, the default of --token-auth-file.
func TokenFile(dataDir string) string { return filepath.Join(dataDir, "tokens.csv") }

// RBACDir is the folder of the manifests that grant makes, the default of --rbac-dir.
func RBACDir(dataDir string) string { return filepath.Join(dataDir, "rbac") }

// EncryptionConfig is the path of the EncryptionConfiguration.
func (d *Data) EncryptionConfig() string { return d.path("encryption.yaml") }

// Kubeconfig is the path of the administrator's kubeconfig.
func (d *Data) Kubeconfig() string { return d.path("admin.kubeconfig") }

// DecryptAudit returns the paths of the decrypt audit log and of its HMAC key, which is outside the directory of the
// log.
func (d *Data) DecryptAudit() (logFile, keyFile string) {
	return d.path("decrypt-audit", "decrypt.log"), d.path("decrypt-audit.key")
}

// CACert is the path of the CA certificate of the server.
func (d *Data) CACert() string { return d.path("pki", "ca.crt") }

// ServingCert returns the paths of the serving certificate and its key.
func (d *Data) ServingCert() (certFile, keyFile string) {
	return d.path("pki", "serving.crt"), d.path("pki", "serving.key")
}

// ServerURL is the URL for clients on this machine.
func (d *Data) ServerURL() string { return d.server }

// Names lists the names and addresses besides loopback of the serving certificate at the start, for the banner. It is
// empty for a server that only this machine can reach, unless --tls-san is set.
func (d *Data) Names() string {
	if ip := net.ParseIP(d.cfg.BindAddress); ip.IsLoopback() && len(d.cfg.ExtraSANs) == 0 {
		return ""
	}
	others := slices.DeleteFunc(slices.Clone(d.hosts), func(host string) bool {
		ip := net.ParseIP(host)
		return host == "localhost" || (ip != nil && ip.IsLoopback())
	})
	return strings.Join(others, ", ")
}

// AdminAuthenticator authenticates the admin token only.
func (d *Data) AdminAuthenticator() authenticator.Token { return adminToken(d.admin) }

// Close releases the directory. Call it after etcd has stopped.
func (d *Data) Close() error { return d.lock.Close() }
