// SPDX-License-Identifier: Apache-2.0

package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
)

// tokenTable authenticates the tokens of the token file. The key of a row is the SHA-256 of its token: tokens are not
// kept, and the time of a lookup does not depend on how much of a guess is right.
type tokenTable struct {
	rows atomic.Pointer[map[tokenHash]*user.DefaultInfo]
}

type tokenHash [sha256.Size]byte

var _ authenticator.Token = &tokenTable{}

// AuthenticateToken implements authenticator.Token.
func (t *tokenTable) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	info, ok := (*t.rows.Load())[sha256.Sum256([]byte(token))]
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: info}, true, nil
}

// apply replaces all rows.
func (t *tokenTable) apply(_ context.Context, data []byte) error {
	rows, short, err := parseTokens(data)
	if err != nil {
		return err
	}
	if len(short) > 0 {
		klog.InfoS("Tokens of --token-auth-file have fewer than 16 characters and can be guessed: use longer ones",
			"lines", short)
	}
	t.rows.Store(&rows)
	return nil
}

// shortToken is the length below which a token is logged as too short.
const shortToken = 16

// parseTokens reads the CSV of Kubernetes: token,user,uid[,"group1,group2"]. What Kubernetes warns about (an empty or
// repeated token) or drops (a column) is an error with the line, never with the content. short are the lines with
// tokens shorter than shortToken.
func parseTokens(data []byte) (rows map[tokenHash]*user.DefaultInfo, short []int, err error) {
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	reader.FieldsPerRecord = -1
	rows = map[tokenHash]*user.DefaultInfo{}
	lines := map[tokenHash]int{}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, short, nil
		}
		if err != nil {
			return nil, nil, syntaxError(err)
		}
		line, _ := reader.FieldPos(0)
		if err := checkRecord(record); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", line, err)
		}
		key := tokenHash(sha256.Sum256([]byte(record[0])))
		if first, ok := lines[key]; ok {
			return nil, nil, fmt.Errorf("line %d: same token as in line %d; remove one of them", line, first)
		}
		if len(record[0]) < shortToken {
			short = append(short, line)
		}
		rows[key], lines[key] = userOf(record), line
	}
}

// syntaxError keeps what cannot contain a token from an error of the CSV reader.
func syntaxError(err error) error {
	var parse *csv.ParseError
	if !errors.As(err, &parse) {
		return errors.New("invalid CSV")
	}
	return fmt.Errorf("line %d: misplaced quote, write \"\" for a quote inside a quoted column", parse.StartLine)
}

func checkRecord(record []string) error {
	switch {
	case len(record) < 3 || len(record) > 4:
		const columns = `token,user,uid or token,user,uid,"group1,group2" with the groups quoted`
		return fmt.Errorf("has %d columns, expected %s", len(record), columns)
	case record[0] == "":
		return errors.New("the token is empty")
	case strings.ContainsFunc(record[0], unicode.IsSpace):
		return errors.New("the token contains white space, which clients cannot send")
	case strings.TrimSpace(record[1]) == "":
		return errors.New("the user name is empty")
	}
	return nil
}

// userOf builds the user once for all requests, including system:authenticated.
func userOf(record []string) *user.DefaultInfo {
	info := &user.DefaultInfo{Name: record[1], UID: record[2]}
	if len(record) == 4 {
		for group := range strings.SplitSeq(record[3], ",") {
			if group = strings.TrimSpace(group); group != "" {
				info.Groups = append(info.Groups, group)
			}
		}
	}
	unauthenticated := info.Name == user.Anonymous || slices.Contains(info.Groups, user.AllUnauthenticated)
	if !unauthenticated && !slices.Contains(info.Groups, user.AllAuthenticated) {
		info.Groups = append(info.Groups, user.AllAuthenticated)
	}
	info.Groups = slices.Clip(info.Groups)
	return info
}
