// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/runtime/serializer/versioning"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	kmsmock "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/keys"
)

// canary is part of every value that a test writes, so that one search finds a leak.
const canary = "canary-5f1c0e"

// Fixed keys of the tests and of the recorded ciphertexts.
var providerConfigs = map[string]string{
	"aesgcm":    "aesgcm: {keys: [{name: key1, secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}]}",
	"secretbox": "secretbox: {keys: [{name: key1, secret: ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=}]}",
	"aescbc":    "aescbc: {keys: [{name: key1, secret: QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=}]}",
	"rotated": "aesgcm: {keys: [{name: key2, secret: YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8=}, " +
		"{name: key1, secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}]}",
	"identity": "identity: {}",
}

// encrypting are the providers that a production configuration may name first.
var encrypting = []string{"aesgcm", "secretbox", "aescbc", "kms"}

// newTransformer loads an EncryptionConfiguration from a file, as upstream does.
func newTransformer(t testing.TB, provider string) value.Transformer {
	t.Helper()
	loaded, err := encryptionconfig.LoadEncryptionConfig(t.Context(), writeConfiguration(t, provider), false, "test")
	if err != nil {
		t.Fatalf("loading the encryption configuration of %s: %v", provider, err)
	}
	return loaded.Transformers[secret.GroupResource]
}

// writeConfiguration writes the EncryptionConfiguration of a provider and returns its path.
func writeConfiguration(t testing.TB, provider string) string {
	t.Helper()
	line, ok := providerConfigs[provider]
	if provider == "kms" {
		socket := filepath.Join(socketDir(t), "kms.sock")
		kmsmock.NewBase64Plugin(t, socket)
		line, ok = fmt.Sprintf("kms: {apiVersion: v2, name: vault1, endpoint: 'unix://%s'}", socket), true
	}
	if !ok {
		t.Fatalf("no test configuration for provider %q", provider)
	}
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	config := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" +
		"- resources: [" + secret.GroupResource.String() + "]\n  providers:\n  - " + line + "\n"
	writeFile(t, file, config)
	return file
}

func writeFile(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// socketDir is short enough for a unix socket, which t.TempDir is not.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// objectCodec is the codec of the object part: the same as the server's storage codec, which a test of this package
// cannot import without a cycle.
func objectCodec() runtime.Codec {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	proto := protobuf.NewSerializer(scheme, scheme)
	return versioning.NewDefaultingCodecForScheme(scheme, proto, proto, v1beta1.SchemeGroupVersion,
		runtime.InternalGroupVersioner)
}

// newObject returns an object as a strategy hands it to the store, with a value.
func newObject(name, v string) *secret.SecureValue {
	return &secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"team": "a"},
		},
		Spec: secret.SecureValueSpec{
			Description: "a test", Value: sensitive.New(v), Decrypters: []string{"k6", "synthetic"},
		},
		Status: secret.SecureValueStatus{Version: 1, Keeper: secret.KeeperSystem},
	}
}

// mustSeal returns obj with its value sealed, as a record read from etcd holds it.
func mustSeal(t testing.TB, s *Sealer, obj *secret.SecureValue) *secret.SecureValue {
	t.Helper()
	sealed, err := s.Seal(t.Context(), obj, *obj.Spec.Value)
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return withSealed(obj, sealed)
}

// mustNotOpen asks that obj does not open and that the refusal quotes nothing.
func mustNotOpen(t testing.TB, s *Sealer, obj *secret.SecureValue) error {
	t.Helper()
	v, err := s.Open(t.Context(), obj)
	var operation *OperationError
	switch {
	case err == nil:
		t.Errorf("%s/%s opened", obj.Namespace, obj.Name)
	case !errors.As(err, &operation) || operation.Operation != "opening":
		t.Errorf("Open returned %v, want an *OperationError of opening", err)
	case v != "":
		t.Error("Open returned a value beside its error")
	case strings.Contains(err.Error(), canary):
		t.Error("the error quotes the value")
	}
	return err
}

// newConfiguration returns the keys of a provider.
func newConfiguration(t testing.TB, provider string) *keys.Configuration {
	t.Helper()
	data, err := os.ReadFile(writeConfiguration(t, provider))
	if err != nil {
		t.Fatal(err)
	}
	config, err := keys.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// newSealer returns a sealer that knows its keys.
func newSealer(t testing.TB, provider string) *Sealer {
	t.Helper()
	return NewSealer(newTransformer(t, provider), newConfiguration(t, provider))
}

// switchable is a transformer whose key can become unavailable, and that counts how often it is asked.
type switchable struct {
	value.Transformer
	*keys.Configuration
	failing atomic.Bool
	calls   atomic.Int64
}

var errKeyGone = errors.New("the key is unavailable")

func (s *switchable) TransformToStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, error) {
	s.calls.Add(1)
	if s.failing.Load() {
		return nil, errKeyGone
	}
	return s.Transformer.TransformToStorage(ctx, data, dataCtx)
}

func (s *switchable) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool,
	error) {
	s.calls.Add(1)
	if s.failing.Load() {
		return nil, false, errKeyGone
	}
	return s.Transformer.TransformFromStorage(ctx, data, dataCtx)
}

// encodeFrame encodes obj, or ends the test.
func encodeFrame(t testing.TB, codec *Codec, obj runtime.Object) []byte {
	t.Helper()
	var frame bytes.Buffer
	if err := codec.Encode(obj, &frame); err != nil {
		t.Fatalf("Encode: %v", err)
	}
	return frame.Bytes()
}

// decodeFrame decodes a frame, or ends the test.
func decodeFrame(t testing.TB, codec *Codec, frame []byte) *secret.SecureValue {
	t.Helper()
	obj, _, err := codec.Decode(frame, nil, nil)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return obj.(*secret.SecureValue)
}
