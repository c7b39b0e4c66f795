// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// A database that was full when it was backed up takes writes again once it is restored.
func TestAnAlarmIsNotRestored(t *testing.T) {
	t.Parallel()
	members := etcdcluster.Start(t, 1, etcdcluster.Options{})
	s := start(t, "", "--etcd-servers="+members.Endpoints()[0])
	stored := fill(t, s, 1, 0)
	etcd := members.Client(t)
	t.Cleanup(func() { _ = etcd.Close() })
	list, err := etcd.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raise := &etcdserverpb.AlarmRequest{
		Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_NOSPACE, MemberID: list.Members[0].ID,
	}
	if _, err := etcdserverpb.NewMaintenanceClient(etcd.ActiveConnection()).Alarm(t.Context(), raise); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Values(t, "", namespace).Create(t.Context(), harness.NewValue("refused", "x", "k6-cloud"), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("a write to a full database: %v", err)
	}
	backup := file(t)
	if line := must(t, "backup", "--etcd-servers="+members.Endpoints()[0], "--to="+backup); !strings.Contains(line, ", 1 value. ") {
		t.Errorf("got %s", line)
	}
	restored := start(t, restore(t, backup, s.DataDir))
	if got := decrypt(t, restored, "value-0"); got != stored[namespace+"/value-0"] {
		t.Error("value-0 opens to something else")
	}
	if _, err := restored.Values(t, "", namespace).Create(t.Context(), harness.NewValue("taken", "x", "k6-cloud"), metav1.CreateOptions{}); err != nil {
		t.Errorf("a write to the restored database: %v", err)
	}
}
