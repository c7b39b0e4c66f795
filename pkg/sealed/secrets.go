// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// maxTries is how many values of a key must fail to open before its secret counts as wrong: a record may be damaged.
const maxTries = 10

// trials opens stored values with single keys, independent of the active configuration.
type trials struct {
	codec *Codec
	keys  map[string]*trial
	open  int // keys that need more values
}

// trial is the state of one key.
type trial struct {
	sealer *Sealer
	tried  int
	opened bool
	failed string // the last value that did not open, as NAMESPACE/NAME
}

func (t *trial) settled() bool { return t.opened || t.tried == maxTries }

// WrongSecrets returns the keys whose secret opens none of the values stored under their name, each with such a value
// as NAMESPACE/NAME. names is for KeyName; keys has a transformer for each key to try, by PROVIDER/NAME. A key is
// settled by one value that opens, or maxTries that do not. Records are read until every key is settled, and at most
// limit once the key must is: for a key without values all records would be read. A limit of 0 means none.
func (s *Scanner) WrongSecrets(
	ctx context.Context, names []string, keys map[string]value.Transformer, must string, limit int64,
) (map[string]string, error) {
	s = s.Naming(names)
	t := &trials{codec: s.codec, keys: map[string]*trial{}, open: len(keys)}
	for name, transformer := range keys {
		t.keys[name] = &trial{sealer: NewSealer(transformer, nil)}
	}
	mustHave := t.keys[must]
	if t.open > 0 {
		var read int64
		_, err := s.each(ctx, 0, func(record *mvccpb.KeyValue, _ int64) bool {
			read++
			t.try(ctx, record.Value)
			return t.open > 0 && (limit == 0 || read < limit || mustHave != nil && !mustHave.settled())
		})
		if err != nil {
			return nil, err
		}
	}
	wrong := map[string]string{}
	for name, key := range t.keys {
		if key.tried > 0 && !key.opened {
			wrong[name] = key.failed
		}
	}
	return wrong, nil
}

// try opens a record if its key is not settled.
func (t *trials) try(ctx context.Context, record []byte) {
	_, sealed, err := splitFrame(record)
	if err != nil {
		return
	}
	key := t.keys[t.codec.keyName(sealed)]
	if key == nil || key.settled() {
		return
	}
	obj, _, err := t.codec.Decode(record, nil, nil)
	if err != nil {
		return
	}
	sv := obj.(*secret.SecureValue) // the codec decodes nothing else
	if sv.DeletionTimestamp != nil {
		return
	}
	key.tried++
	if _, err := key.sealer.Open(ctx, sv); err == nil {
		key.opened = true
	} else {
		key.failed = escape(sv.Namespace + "/" + sv.Name)
	}
	if key.settled() {
		t.open--
	}
}

// CountKeys counts the stored values by key. names is for KeyName. It opens nothing, and decodes only objects under
// keys that are not in names, to skip deleted ones.
func (s *Scanner) CountKeys(ctx context.Context, names []string) (map[string]int64, error) {
	s = s.Naming(names)
	counts := map[string]int64{}
	_, err := s.each(ctx, 0, func(record *mvccpb.KeyValue, _ int64) bool {
		_, sealed, err := splitFrame(record.Value)
		if err != nil {
			return true
		}
		name := s.codec.keyName(sealed)
		if !slices.ContainsFunc(names, func(known string) bool { return secret.CoversKey(known, name) }) {
			name = s.read(string(record.Key), record.Value).Key
		}
		if name != "" {
			counts[name]++
		}
		return true
	})
	return counts, err
}
