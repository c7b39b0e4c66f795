// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/etcdcluster"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// A cluster's etcd is backed up over TLS, by the member that answers when another does not, and restores into a folder.
func TestBackupOfAnEtcdWithTLS(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), certs.NewCA(t, "etcd-ca")
	certificate, key := ca.ServingAndClient(t)
	files := map[string]string{"ca.crt": ca.PEM(), "tls.crt": certificate, "tls.key": key}
	for name, content := range files {
		harness.WriteFile(t, filepath.Join(dir, name), content)
	}
	members := etcdcluster.Start(t, 1, etcdcluster.Options{HTTPS: true, Args: []string{
		"--cert-file=" + filepath.Join(dir, "tls.crt"), "--key-file=" + filepath.Join(dir, "tls.key"),
		"--trusted-ca-file=" + filepath.Join(dir, "ca.crt"), "--client-cert-auth",
	}})
	flags := []string{
		"--etcd-cafile=" + filepath.Join(dir, "ca.crt"), "--etcd-certfile=" + filepath.Join(dir, "tls.crt"),
		"--etcd-keyfile=" + filepath.Join(dir, "tls.key"),
	}
	s := start(t, "", append([]string{"--etcd-servers=" + members.Endpoints()[0]}, flags...)...)
	stored := fill(t, s, 3, 0)

	backup := file(t)
	servers := "--etcd-servers=https://127.0.0.1:1," + members.Endpoints()[0]
	line := must(t, append(flags, "backup", servers, "--to="+backup)...)
	if !strings.Contains(line, ", 3 values.") {
		t.Errorf("got %s", line)
	}
	noCanary(t, "the backup", harness.ReadFile(t, backup), stored)
	if opened := harness.OpenAll(t, restore(t, backup, s.DataDir)); len(opened) != 3 {
		t.Errorf("%d values open", len(opened))
	}
	refused(t, "--etcd-servers: no answer from etcd", "backup", servers, "--to="+file(t))
}
