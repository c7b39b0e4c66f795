// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3" //nolint:depguard // reads the records of a stopped server
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// recordPrefix starts the key of every record, whatever --etcd-prefix adds to it. recordsPart is in no other keys: heads
// of decrypt audit logs and announcements of servers are not records.
const (
	recordPrefix = "/registry/"
	recordsPart  = "/" + secret.Resource + "/"
)

// OpenAll returns the value of every object in the data folder of a stopped server, by NAMESPACE/NAME. A record that
// does not open, one without a ciphertext included, fails the test; so does a ciphertext of a deleted object.
func OpenAll(t testing.TB, dataDir string) map[string]string {
	t.Helper()
	codec, sealer := sealed.NewCodec(apiserver.NewStorageCodec()), newSealer(t, dataDir)
	opened := map[string]string{}
	withRecords(t, dataDir, func(_ *etcd.Server, record *mvccpb.KeyValue) {
		obj, _, err := codec.Decode(record.Value, nil, nil)
		if err != nil {
			t.Errorf("decoding the record %s: %v", record.Key, err)
			return
		}
		sv := obj.(*secret.SecureValue)
		if sv.DeletionTimestamp != nil {
			if len(sv.Sealed) > 0 {
				t.Errorf("record %s: the object is deleted, and its ciphertext is still there", record.Key)
			}
			return
		}
		value, err := sealer.Open(t.Context(), sv) //nolint:forbidigo // a test must see what was stored
		if err != nil {
			t.Errorf("record %s: %v", record.Key, err)
			return
		}
		opened[sv.Namespace+"/"+sv.Name] = value.Expose()
	})
	return opened
}

// EditAll changes every object in the data folder of a stopped server, past the server and with its ciphertext as it
// is: as an older version of the server, or somebody who can write to etcd, leaves it.
func EditAll(t testing.TB, dataDir string, edit func(*secret.SecureValue)) {
	t.Helper()
	codec := sealed.NewCodec(apiserver.NewStorageCodec())
	withRecords(t, dataDir, func(db *etcd.Server, record *mvccpb.KeyValue) {
		obj, _, err := codec.Decode(record.Value, nil, nil)
		if err != nil {
			t.Fatalf("decoding the record %s: %v", record.Key, err)
		}
		edit(obj.(*secret.SecureValue))
		edited, err := runtime.Encode(codec, obj)
		if err != nil {
			t.Fatalf("encoding the record %s: %v", record.Key, err)
		}
		if _, err := db.Client().Put(t.Context(), string(record.Key), string(edited)); err != nil {
			t.Fatal(err)
		}
	})
}

// Etcd starts the database of a data folder, empty or that of a stopped server, until Stop or the end of the test.
func Etcd(t testing.TB, dataDir string) *etcd.Server {
	t.Helper()
	db, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dataDir, "etcd"), LogOutput: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Stop)
	return db
}

// EtcdServers is the flag of a server that uses a database.
func EtcdServers(db *etcd.Server) string {
	return "--etcd-servers=" + strings.Join(db.Endpoints(), ",")
}

// withRecords hands over every record in the data folder of a stopped server.
func withRecords(t testing.TB, dataDir string, visit func(*etcd.Server, *mvccpb.KeyValue)) {
	t.Helper()
	db := Etcd(t, dataDir)
	defer db.Stop()
	records, err := db.Client().Get(t.Context(), recordPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records.Kvs {
		if bytes.Contains(record.Key, []byte(recordsPart)) {
			visit(db, record)
		}
	}
}

// newSealer uses the keys of the data folder, as the server does.
func newSealer(t testing.TB, dataDir string) *sealed.Sealer {
	t.Helper()
	file := filepath.Join(dataDir, "encryption.yaml")
	config, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "test")
	if err != nil {
		t.Fatal(err)
	}
	return sealed.NewSealer(config.Transformers[secret.GroupResource], nil) //nolint:forbidigo // as above
}
