// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3" //nolint:depguard // reads the records of a stopped server
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/storage/sealed"
)

// recordPrefix starts the key of every record, whatever --etcd-prefix adds behind it. headsPart is in the keys of what is
// no record: the heads of the decrypt audit log.
const (
	recordPrefix = "/registry/"
	headsPart    = "/decrypt-audit-heads/"
)

// OpenAll returns the value of every object in the data folder of a stopped server, by NAMESPACE/NAME. A record that does
// not open, one without a ciphertext included, fails the test.
func OpenAll(t testing.TB, dataDir string) map[string]string {
	t.Helper()
	db, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dataDir, "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Stop()
	records, err := db.Client().Get(t.Context(), recordPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	codec, sealer := sealed.NewCodec(apiserver.NewStorageCodec()), newSealer(t, dataDir)
	opened := make(map[string]string, len(records.Kvs))
	for _, record := range records.Kvs {
		if bytes.Contains(record.Key, []byte(headsPart)) {
			continue
		}
		obj, _, err := codec.Decode(record.Value, nil, nil)
		if err != nil {
			t.Errorf("decoding the record %s: %v", record.Key, err)
			continue
		}
		sv := obj.(*secret.SecureValue)
		value, err := sealer.Open(t.Context(), sv) //nolint:forbidigo // a test must see what was stored
		if err != nil {
			t.Errorf("record %s: %v", record.Key, err)
			continue
		}
		opened[sv.Namespace+"/"+sv.Name] = value.Expose()
	}
	return opened
}

// newSealer uses the keys of the data folder, as the server does.
func newSealer(t testing.TB, dataDir string) *sealed.Sealer {
	t.Helper()
	file := filepath.Join(dataDir, "encryption.yaml")
	config, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "test")
	if err != nil {
		t.Fatal(err)
	}
	return sealed.NewSealer(config.Transformers[secret.GroupResource]) //nolint:forbidigo // as above
}
