// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"

	"github.com/securevalue/secret-apiserver/hack/bench/wire"
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
