// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"

	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// TestLogsFitTheirVolume adds up what the server keeps of its two audit logs: the file in use, the rotated ones, and
// one more while they rotate. A volume without that much room, and a quarter more, would have the kubelet evict the
// Pod.
func TestLogsFitTheirVolume(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-apiserver")
		c := p.container(t, "secret-apiserver")
		fs := parse(t, options.NewOptions().Flags(), args(t, p, c))
		need := map[string]int64{}
		for _, log := range []string{"audit-log", "decrypt-audit-log"} {
			file := fs.Lookup(log + "-path").Value.String()
			if file == "" || file == "-" {
				continue
			}
			volume := volumeOf(t, p, c, file)
			if volume.EmptyDir == nil || volume.EmptyDir.SizeLimit == nil {
				t.Fatalf("--%s-path=%s is not in an emptyDir with a sizeLimit", log, file)
			}
			backups := number(t, fs, log+"-maxbackup")
			if backups == 0 {
				t.Errorf("--%s-maxbackup=0 keeps every file", log)
			}
			need[volume.Name] += (backups + 2) * number(t, fs, log+"-maxsize") << 20
		}
		var sum int64
		for _, volume := range p.spec.Volumes {
			if n := need[volume.Name]; n > 0 && volume.EmptyDir.SizeLimit.Value() < n*5/4 {
				t.Errorf("volume %s has %s for logs of %d MiB", volume.Name, volume.EmptyDir.SizeLimit, n>>20)
			}
			sum += need[volume.Name]
		}
		if asked := c.Resources.Requests.StorageEphemeral().Value(); asked < sum {
			t.Errorf("the server asks for %d MiB of ephemeral storage and keeps logs of %d MiB", asked>>20, sum>>20)
		}
		if sum == 0 {
			t.Error("the decrypt audit log is in no volume")
		}
	})
}

// TestAuditLogIsPrinted: every build hands the decrypt audit log to the log collector.
func TestAuditLogIsPrinted(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-apiserver")
		server := p.container(t, "secret-apiserver")
		fs := parse(t, options.NewOptions().Flags(), args(t, p, server))
		file := fs.Lookup("decrypt-audit-log-path").Value.String()
		sidecar := p.container(t, "decrypt-audit")
		if sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Error("the container is not a sidecar: it would have to end before the server starts")
		}
		if !strings.HasSuffix(strings.Join(sidecar.Command, " "), " -F "+file) {
			t.Errorf("it prints %q, not %s", sidecar.Command, file)
		}
		if volumeOf(t, p, sidecar, file).Name != volumeOf(t, p, server, file).Name {
			t.Error("it reads another volume than the server writes")
		}
		for _, mount := range sidecar.VolumeMounts {
			if !mount.ReadOnly {
				t.Errorf("it may write to %s", mount.MountPath)
			}
		}
	})
}

// TestDatabaseFitsItsVolume: etcd stops writes at its quota before its disk is full, even while it is defragmented into
// a copy.
func TestDatabaseFitsItsVolume(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		p := getPod(t, objects, "secret-etcd")
		config := embed.NewConfig()
		var quota int64
		for _, arg := range args(t, p, p.container(t, "etcd")) {
			if value, ok := strings.CutPrefix(arg, "--quota-backend-bytes="); ok {
				fs := pflag.NewFlagSet("", pflag.ContinueOnError)
				fs.Int64Var(&quota, "quota", 0, "")
				if err := fs.Set("quota", value); err != nil {
					t.Fatal(err)
				}
			}
		}
		wal := int64(config.MaxWalFiles+1) * 64 << 20
		for _, claim := range getStatefulSet(t, objects).Spec.VolumeClaimTemplates {
			if size := claim.Spec.Resources.Requests.Storage().Value(); quota == 0 || size < 2*quota+wal {
				t.Errorf("%s has %d MiB, for a quota of %d MiB twice and a log of %d MiB", claim.Name, size>>20, quota>>20, wal>>20)
			}
		}
	})
}

func number(t *testing.T, fs *pflag.FlagSet, name string) int64 {
	t.Helper()
	n, err := fs.GetInt(name)
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

// volumeOf is the volume of the longest mount that a file is below.
func volumeOf(t *testing.T, p pod, c corev1.Container, file string) corev1.Volume {
	t.Helper()
	for dir := path.Dir(file); dir != "/" && dir != "."; dir = path.Dir(dir) {
		for _, mount := range c.VolumeMounts {
			if mount.MountPath != dir {
				continue
			}
			for _, volume := range p.spec.Volumes {
				if volume.Name == mount.Name {
					return volume
				}
			}
		}
	}
	t.Fatalf("%s is in no volume of %s", file, c.Name)
	return corev1.Volume{}
}

// TestNewEncryptionConfig runs the script that docs/operations.md tells people to run: the server takes what it prints,
// and no two are alike.
func TestNewEncryptionConfig(t *testing.T) {
	var configs [][]byte
	names := map[string]bool{}
	for range 2 {
		config, err := exec.CommandContext(t.Context(), "../new-encryption-config.sh").Output()
		if err != nil {
			t.Fatal(err)
		}
		keys, err := keys.Parse(config)
		if err != nil {
			t.Fatalf("the server refuses it: %v", err)
		}
		names[keys.Names()[0]] = true
		configs = append(configs, config)
	}
	if bytes.Equal(configs[0], configs[1]) {
		t.Error("two runs give one key")
	}
	if len(names) != 2 {
		t.Errorf("two runs on one day give one name: %v", names)
	}
}

// A date of another system prints no configuration with half a name.
func TestNewEncryptionConfigRefusesForeignTools(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "date"), []byte("#!/bin/sh\necho usage >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "../new-encryption-config.sh")
	command.Env = append(command.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := command.Output(); err == nil || len(out) > 0 {
		t.Errorf("printed %q, %v", out, err)
	}
}

func TestKMSConfigurationIsTaken(t *testing.T) {
	config, err := os.ReadFile("../../deploy/components/kms-plugin/encryption.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.CheckConfiguration(config); err != nil {
		t.Error(err)
	}
	p := getPod(t, build(t, builds["kms-plugin"]), "secret-apiserver")
	socket := "/var/run/kms-plugin"
	for _, name := range []string{"secret-apiserver", "kms-plugin"} {
		found := false
		for _, m := range p.container(t, name).VolumeMounts {
			found = found || m.MountPath == socket
		}
		if !found || !bytes.Contains(config, []byte("unix://"+socket+"/")) {
			t.Errorf("%s does not see the socket of encryption.yaml", name)
		}
	}
}

// keyOf is a field with a key of 16 bytes or more in base64.
var keyOf = regexp.MustCompile(`secret:\s*["']?[A-Za-z0-9+/]{22,}`)

// TestNoKeyInTheRepository: whatever looks like a key of 32 bytes in a manifest or a document would be used by
// somebody.
func TestNoKeyInTheRepository(t *testing.T) {
	for _, folder := range []string{"../../deploy", "../../docs", "../../config"} {
		tree := os.DirFS(folder)
		err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := fs.ReadFile(tree, path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(data)) {
				if keyOf.MatchString(line) {
					t.Errorf("%s/%s holds a key: %s", folder, path, strings.TrimSpace(line))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
