// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// maxTokenBytes bounds a token that is looked into. A ServiceAccount's has one to two KB; kube-apiserver itself takes headers of
// up to a MB.
const maxTokenBytes = 64 << 10

// named refuses tokens that cannot be issued for the audience without a review: what is not a JWT, and JWTs whose aud does not
// name it. Nothing is verified here; a token that passes is reviewed.
//
// The expiry of a token is left to the review. Whoever makes up tokens chooses it too, so a look at it would stop nobody, and it
// would refuse good tokens if the clock of this machine is ahead.
type named struct {
	audience string
	next     authenticator.Token
}

// AuthenticateToken implements authenticator.Token.
func (n named) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !names(token, n.audience) {
		return nil, false, nil
	}
	return n.next.AuthenticateToken(ctx, token)
}

// names reports whether a token is a signed JWT whose aud, a string or a list of strings, names the audience.
func names(token, audience string) bool {
	if len(token) > maxTokenBytes {
		return false
	}
	header, rest, ok := strings.Cut(token, ".")
	payload, signature, signed := strings.Cut(rest, ".")
	if !ok || !signed || header == "" || signature == "" || strings.Contains(signature, ".") {
		return false
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return false
	}
	var claims struct {
		Audience audiences `json:"aud"`
	}
	return json.Unmarshal(data, &claims) == nil && authenticator.Audiences(claims.Audience).Has(audience)
}

// audiences reads both forms of aud (RFC 7519, section 4.1.3).
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	*a = many
	return nil
}
