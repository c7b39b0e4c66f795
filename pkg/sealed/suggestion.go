// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// takesSuggestion says whether an update should start from what the watch cache suggests. The cache has no ciphertext, so it pays for an
// update that brings a value, which most PUTs do; a patch would have to read the record all the same.
func takesSuggestion(ctx context.Context) bool {
	info, ok := request.RequestInfoFrom(ctx)
	return ok && info.Verb == "update"
}

// errSuperseded says that a suggestion is older than the record. The etcd3 store reads the record when an update of a suggestion
// fails, and tries again with what it read.
var errSuperseded = errors.New("the watch cache is behind the record")

// unchanged is the error with which an update of a suggestion ends that changes nothing. The etcd3 store cannot see that, because it
// compares with the suggestion, and would write the record again.
type unchanged struct{ record *secret.SecureValue }

// Error implements error.
func (*unchanged) Error() string { return "nothing is to be written" }

// carry returns what to store for an update of a suggestion that needs the ciphertext of the record: it reads the record, which must be
// the one of the suggestion. It returns errSuperseded when it is not, and *unchanged when it says what is to be stored already.
func (s *Store) carry(ctx context.Context, key, suggested string, updated *secret.SecureValue) (*secret.SecureValue, error) {
	record := &secret.SecureValue{}
	if err := s.raw.Get(ctx, key, storage.GetOptions{}, record); err != nil {
		return nil, err
	}
	if record.ResourceVersion != suggested {
		return nil, errSuperseded
	}
	sealed, err := s.sealUpdate(ctx, record, updated)
	if err != nil {
		return nil, err
	}
	is, err := s.encode(record)
	if err != nil {
		return nil, err
	}
	wanted, err := s.encode(sealed)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(is, wanted) {
		return nil, &unchanged{record}
	}
	return sealed, nil
}

// encode returns the bytes of an object as the etcd3 store writes them.
func (s *Store) encode(obj *secret.SecureValue) ([]byte, error) {
	stored := *obj
	if err := s.raw.Versioner().PrepareObjectForStorage(&stored); err != nil {
		return nil, err
	}
	return runtime.Encode(s.codec, &stored)
}
