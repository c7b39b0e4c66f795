// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/securevalue/secret-apiserver/hack/bench/wire"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// Op is what a client does over and over.
type Op string

// The operations. Page is the first page of 500; Update replaces an object with a new value; Patch sets a label.
const (
	Create Op = "create"
	Get    Op = "get"
	Update Op = "update"
	Patch  Op = "patch"
	Delete Op = "delete"
	List   Op = "list"
	Page   Op = "page"
)

// PageSize is that of Page, the one of kubectl and of client-go's pager.
const PageSize = 500

// requests makes the requests of one client.
type requests struct {
	slice  *Slice
	random *mathrand.Rand
}

// next returns the request with this number of the slice, and the name that it is about.
func (r *requests) next(number int64) (wire.Request, string) {
	s := r.slice
	collection := s.Kind.Collection(s.Namespace)
	switch s.Op {
	case Create:
		name := s.newName(number)
		return r.body(http.MethodPost, collection, name), name
	case List:
		return r.read(collection), ""
	case Page:
		return r.read(collection + "?limit=" + strconv.Itoa(PageSize)), ""
	case Delete:
		name := s.Names[number]
		return wire.Request{
			Method: http.MethodDelete, Path: collection + "/" + name, Accept: s.Encoding.accept(), Gzip: s.Gzip,
			ContentType: s.Encoding.contentType(), Body: s.Encoding.encode(deleteOptions),
		}, name
	default:
		return r.onAny(collection)
	}
}

// onAny is a request on one of the names.
func (r *requests) onAny(collection string) (wire.Request, string) {
	s := r.slice
	name := s.Names[r.random.IntN(len(s.Names))]
	path := collection + "/" + name
	switch s.Op {
	case Update:
		return r.body(http.MethodPut, path, name), name
	case Patch:
		return wire.Request{
			Method: http.MethodPatch, Path: path, Accept: s.Encoding.accept(), Gzip: s.Gzip,
			ContentType: patchType, Body: fmt.Appendf(nil, `{"metadata":{"labels":{"bench":"%x"}}}`, r.random.Uint64()),
		}, name
	default:
		return r.read(path), name
	}
}

func (r *requests) read(path string) wire.Request {
	return wire.Request{Method: http.MethodGet, Path: path, Accept: r.slice.Encoding.accept(), Gzip: r.slice.Gzip}
}

func (r *requests) body(method, path, name string) wire.Request {
	s := r.slice
	return wire.Request{
		Method: method, Path: path, Accept: s.Encoding.accept(), Gzip: s.Gzip,
		ContentType: s.Encoding.contentType(), Body: s.Encoding.encode(s.Kind.object(name, value(r.random, s.Size))),
	}
}

// Encoding is how bodies travel.
type Encoding string

// The encodings that typed clients send. Controllers ask for protobuf, which both servers speak; kubectl, curl and a
// client-go that was not told otherwise send JSON.
const (
	Protobuf Encoding = "protobuf"
	JSON     Encoding = "json"
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
	patchType    = "application/merge-patch+json"
	eitherType   = protobufType + "," + jsonType
)

// Kind is what is stored.
type Kind string

// The kinds that are compared.
const (
	Secrets      Kind = "secrets"
	SecureValues Kind = "securevalues"
)

// Collection is the path of the kind in a namespace.
func (k Kind) Collection(namespace string) string {
	if k == Secrets {
		return "/api/v1/namespaces/" + namespace + "/secrets"
	}
	return "/apis/" + v1beta1.SchemeGroupVersion.String() + "/namespaces/" + namespace + "/securevalues"
}

var protobufSerializer = func() *protobuf.Serializer {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	return protobuf.NewSerializer(scheme, scheme)
}()

// object is what a user would write: a name and a value, and for a SecureValue what it requires besides.
func (k Kind) object(name, value string) runtime.Object {
	meta := metav1.ObjectMeta{Name: name}
	if k == Secrets {
		return &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta,
			Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"value": []byte(value)},
		}
	}
	return &v1beta1.SecureValue{
		TypeMeta: metav1.TypeMeta{APIVersion: v1beta1.SchemeGroupVersion.String(), Kind: "SecureValue"}, ObjectMeta: meta,
		Spec: v1beta1.SecureValueSpec{Description: "benchmark", Value: sensitive.New(value), Decrypters: []string{"k6-cloud"}},
	}
}

// contentType is that of bodies, accept what is asked for.
func (e Encoding) contentType() string {
	if e == Protobuf {
		return protobufType
	}
	return jsonType
}

func (e Encoding) accept() string {
	if e == Protobuf {
		return eitherType
	}
	return jsonType
}

// encode returns the body of an object. An error is a fault of this program.
func (e Encoding) encode(object runtime.Object) []byte {
	var out bytes.Buffer
	var err error
	if e == Protobuf {
		err = protobufSerializer.Encode(object, &out)
	} else {
		err = json.NewEncoder(&out).Encode(object)
	}
	if err != nil {
		panic(fmt.Sprintf("encoding a %T: %v", object, err))
	}
	return out.Bytes()
}

var deleteOptions = &metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}}

const (
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	poolSize = 4 << 20
)

// values is one long random text; a value is a part of it, since generating randomness would cost the client more than
// the request does. It is text, since a SecureValue is.
var values = func() string {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	source := mathrand.NewChaCha8(seed)
	pool := make([]byte, poolSize)
	_, _ = source.Read(pool) // never fails
	for i, b := range pool {
		pool[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(pool)
}()

// value returns size bytes of the text from anywhere in it.
func value(random *mathrand.Rand, size int) string {
	start := random.IntN(len(values) - size)
	return values[start : start+size]
}

// newRandom is a generator of a client's own.
func newRandom() *mathrand.Rand {
	seed, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63)) // never fails
	return mathrand.New(mathrand.NewPCG(seed.Uint64(), 1))                //nolint:gosec // which object is next is not secret
}
