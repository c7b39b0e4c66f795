// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"

	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ErrBusy is returned when a Pool has nothing left for a caller, which may retry after RetryAfterSeconds.
var ErrBusy = errors.New("too many requests in flight; retry later")

// RetryAfterSeconds is the Retry-After of a 429.
const RetryAfterSeconds = 1

// BusyAnnotation marks the audit record of a request that got 429 because its credentials could not be reviewed.
const BusyAnnotation = secret.GroupName + "/token-review-refused"

// peerBits6 is the IPv6 prefix length of a peer: a host can usually choose the rest.
const peerBits6 = 64

// Caller identifies whose requests count together: a user or, before authentication, the peer.
type Caller struct {
	user string
	peer netip.Prefix
}

// User returns the caller with that user name, whatever its connections and addresses.
func User(name string) Caller { return Caller{user: name} }

// Peer returns the caller at an address, with or without a port: an IPv4 address or an IPv6 /64.
func Peer(address string) Caller {
	var ip netip.Addr
	if withPort, err := netip.ParseAddrPort(address); err == nil {
		ip = withPort.Addr()
	} else if ip, err = netip.ParseAddr(address); err != nil {
		return Caller{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = peerBits6
	}
	peer, err := ip.Prefix(bits)
	if err != nil {
		return Caller{}
	}
	return Caller{peer: peer}
}

// CallerOf returns the user of a request, or its peer if it is anonymous.
func CallerOf(r *http.Request) Caller {
	if who, ok := request.UserFrom(r.Context()); ok && who.GetName() != user.Anonymous {
		return User(who.GetName())
	}
	return Peer(r.RemoteAddr)
}

// login carries the peer of one request to its authenticator, and the result busy back.
type login struct {
	peer Caller
	busy atomic.Bool
}

type loginKey struct{}

// WithLogin lets authenticators, which see only a context, find the peer of a request (PeerFrom) and have it refused
// with 429 (SetBusy). Requests without an Authorization header cost nothing.
func WithLogin(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Header["Authorization"]; ok {
			r = r.WithContext(context.WithValue(r.Context(), loginKey{}, &login{peer: Peer(r.RemoteAddr)}))
		}
		handler.ServeHTTP(w, r)
	})
}

// PeerFrom returns the peer of a request that passed WithLogin.
func PeerFrom(ctx context.Context) Caller {
	if l, ok := ctx.Value(loginKey{}).(*login); ok {
		return l.peer
	}
	return Caller{}
}

// SetBusy reports to IsBusy and to the audit log that the credentials of a request could not be reviewed.
func SetBusy(ctx context.Context) {
	audit.AddAuditAnnotation(ctx, BusyAnnotation, "true")
	if l, ok := ctx.Value(loginKey{}).(*login); ok {
		l.busy.Store(true)
	}
}

// IsBusy reports whether SetBusy was called: the credentials may be good, so a 401 would be wrong.
func IsBusy(ctx context.Context) bool {
	l, ok := ctx.Value(loginKey{}).(*login)
	return ok && l.busy.Load()
}
