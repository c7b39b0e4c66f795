// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
)

// claims are those of a ServiceAccount token that help to explain a refusal. Nothing here verifies them.
type claims struct {
	Audience   audiences `json:"aud"`
	Subject    string    `json:"sub"`
	Expiry     int64     `json:"exp"` // seconds since 1970
	Kubernetes struct {
		Namespace string `json:"namespace"`
	} `json:"kubernetes.io"`
}

// audiences is a list of strings, or in some tokens one string.
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// readClaims returns the claims of the token in a file; none when it is not a JWT.
func readClaims(file string) claims {
	token, _ := os.ReadFile(file) //nolint:gosec // the user names it; the client reports errors
	return parseClaims(strings.TrimSpace(string(token)))
}

func parseClaims(token string) claims {
	var c claims
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		if json.Unmarshal(payload, &c) != nil {
			return claims{}
		}
	}
	return c
}

// account returns NAMESPACE:NAME of the ServiceAccount of a token, or nothing.
func (c claims) account() string {
	account, ok := strings.CutPrefix(c.Subject, "system:serviceaccount:")
	if !ok {
		return ""
	}
	return account
}
