// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// SealingKeyNamespace stands for a namespace where tools name a sealing key.
const SealingKeyNamespace = secret.SealingKeyResource

// SealingKey is the public half of a sealing key.
type SealingKey struct {
	// ID is sealing.PublicKey.ID of Public.
	ID     string
	Public *sealing.PublicKey
	// Created is in UTC, in whole seconds.
	Created time.Time
	// Replaced is set once an operator has asked for a new key.
	Replaced bool

	made, revision int64 // revisions of the first and of the last write of the record
}

// sealingRoot returns the etcd key prefix of the records of sealing keys; the id follows.
func sealingRoot(etcdPrefix string) string { return path.Join("/", etcdPrefix, "sealing-keys") + "/" }

// sealingAAD ties a private half to its id and suite, as AAD does a value to its object.
func sealingAAD(id string) []byte {
	aad := []byte{aadVersion}
	for _, s := range []string{secret.GroupName, secret.SealingKeyResource, id, sealing.Suite} {
		aad = appendString(aad, s)
	}
	return aad
}

// sealingRecord is the readable part of a record: a frame, as for values, with the private half as the sealed one.
type sealingRecord struct {
	Suite     string    `json:"suite"`
	PublicKey []byte    `json:"publicKey"`
	Created   time.Time `json:"created"`
	Replaced  bool      `json:"replaced,omitempty"`
}

func (k SealingKey) record(sealed []byte) ([]byte, error) {
	object, err := json.Marshal(sealingRecord{sealing.Suite, k.Public.Bytes(), k.Created, k.Replaced})
	if err != nil {
		return nil, err
	}
	return appendFrame(nil, object, sealed), nil
}

// splitSealingKey reads a record without opening it. It returns ErrFrame, or an error that FaultOf calls ErrDamaged.
func splitSealingKey(id string, record []byte) (key SealingKey, sealed []byte, err error) {
	object, sealed, err := splitFrame(record)
	if err != nil {
		return SealingKey{}, nil, err
	}
	var read sealingRecord
	if err := json.Unmarshal(object, &read); err != nil || read.Suite != sealing.Suite {
		return SealingKey{}, nil, errUndecodable
	}
	public, err := sealing.ParsePublicKey(read.PublicKey)
	if err != nil {
		return SealingKey{}, nil, errUndecodable
	}
	if public.ID() != id {
		return SealingKey{}, nil, ErrMisplaced
	}
	return SealingKey{ID: id, Public: public, Created: read.Created, Replaced: read.Replaced}, sealed, nil
}

// openSealingKey opens a record.
func openSealingKey(ctx context.Context, sealer *Sealer, id string, record []byte) (*sealing.PrivateKey, error) {
	_, sealed, err := splitSealingKey(id, record)
	if err != nil {
		return nil, err
	}
	raw, err := sealer.openFor(ctx, sealingAAD(id), sealed)
	if err != nil {
		return nil, err
	}
	key, err := sealing.ParsePrivateKey([]byte(raw.Expose()))
	if err != nil || key.Public().ID() != id {
		return nil, ErrBound
	}
	return key, nil
}

// sealingKeyObject stands for a sealing key in an OperationError.
func sealingKeyObject(id string) *secret.SecureValue {
	obj := &secret.SecureValue{}
	obj.Namespace, obj.Name = SealingKeyNamespace, escape(id)
	return obj
}

// The refusals of ReplaceSealingKey and RetireSealingKey. Nothing was changed.
var (
	ErrSealingKeyActive = errors.New("the key is active: people seal to it; replace it first")
	errSealingKeyRace   = errors.New("another operator changed it at the same time: nothing was changed, try again")
)

// ReplaceSealingKey makes the next reader of the sealing keys get a new one, and returns the id of the key that is
// active until then: "" if there is none.
func ReplaceSealingKey(ctx context.Context, kv clientv3.KV, etcdPrefix string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	found, _, _, err := listSealingKeys(ctx, kv, etcdPrefix)
	if err != nil || len(found) == 0 {
		return "", err
	}
	active := found[0]
	at := sealingRoot(etcdPrefix) + active.ID
	got, err := kv.Get(ctx, at)
	if err != nil {
		return "", fmt.Errorf("reading a sealing key: %w", err)
	}
	if len(got.Kvs) == 0 || got.Kvs[0].ModRevision != active.revision {
		return "", errSealingKeyRace
	}
	_, sealed, err := splitSealingKey(active.ID, got.Kvs[0].Value)
	if err != nil {
		return "", err
	}
	active.Replaced = true
	record, err := active.record(sealed)
	if err != nil {
		return "", err
	}
	done, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(at), "=", active.revision)).
		Then(clientv3.OpPut(at, string(record))).Commit()
	if err != nil {
		return "", fmt.Errorf("writing a sealing key: %w", err)
	}
	if !done.Succeeded {
		return "", errSealingKeyRace
	}
	return active.ID, nil
}

// RetireSealingKey deletes a key with its private half: nothing that was sealed to it opens any more, but in a backup.
// It returns ErrNoSealingKey or ErrSealingKeyActive.
func RetireSealingKey(ctx context.Context, kv clientv3.KV, etcdPrefix, id string) error {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	found, _, _, err := listSealingKeys(ctx, kv, etcdPrefix)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(found, func(key SealingKey) bool { return key.ID == id })
	switch {
	case at < 0:
		return ErrNoSealingKey
	case at == 0 && !found[0].Replaced:
		return ErrSealingKeyActive
	}
	key := sealingRoot(etcdPrefix) + id
	done, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", found[at].revision)).
		Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		return fmt.Errorf("deleting a sealing key: %w", err)
	}
	if !done.Succeeded {
		return errSealingKeyRace
	}
	return nil
}
