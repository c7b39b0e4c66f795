// SPDX-License-Identifier: Apache-2.0

package local

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

// canary stands for a token; no error, log line or response may hold it.
const canary = "cAnArY0123456789"

func TestParseTokens(t *testing.T) {
	authenticated := user.AllAuthenticated
	tests := map[string]struct {
		row  string
		want user.DefaultInfo
	}{
		"no groups": {canary + ",alice,1",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{authenticated}}},
		"no uid": {canary + ",alice,", user.DefaultInfo{Name: "alice", Groups: []string{authenticated}}},
		"one group": {canary + ",alice,1,devs",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", authenticated}}},
		"quoted groups": {canary + `,alice,1,"devs,system:masters"`,
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", "system:masters", authenticated}}},
		"space between groups": {canary + `,alice,1,"devs, ops"`,
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", "ops", authenticated}}},
		"empty groups column": {canary + ",alice,1,",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{authenticated}}},
		"quoted name": {canary + `,"Doe, ""A"" J",1`,
			user.DefaultInfo{Name: `Doe, "A" J`, UID: "1", Groups: []string{authenticated}}},
		"quoted token": {`"` + canary + `",alice,1`,
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{authenticated}}},
		"listed already": {canary + ",alice,1,system:authenticated",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{authenticated}}},
		"unauthenticated": {canary + ",eve,1,system:unauthenticated",
			user.DefaultInfo{Name: "eve", UID: "1", Groups: []string{user.AllUnauthenticated}}},
		"byte order mark": {"\ufeff" + canary + ",alice,1",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{authenticated}}},
		"windows line end": {canary + ",alice,1,devs\r\n",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", authenticated}}},
		"blank lines": {"\n\n" + canary + ",alice,1\n\n",
			user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{authenticated}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			table := &tokenTable{}
			if err := table.apply(t.Context(), []byte(test.row)); err != nil {
				t.Fatal(err)
			}
			resp, ok, err := table.AuthenticateToken(t.Context(), canary)
			if err != nil || !ok {
				t.Fatalf("got %v, %v, want the user", ok, err)
			}
			if diff := cmp.Diff(&test.want, resp.User); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseTokensRefuses(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"two columns":      {"ok,a,1\n" + canary + ",alice\n", "line 2: has 2 columns"},
		"unquoted groups":  {canary + ",alice,1,devs,ops\n", "line 1: has 5 columns"},
		"comment":          {"# " + canary + "\n", "line 1: has 1 columns"},
		"empty token":      {"\n,alice,1\n", "line 2: the token is empty"},
		"token with space": {canary + " x,alice,1\n", "line 1: the token contains white space"},
		"empty user":       {canary + ", ,1\n", "line 1: the user name is empty"},
		"repeated token": {canary + ",alice,1\nb,bob,2\n" + canary + ",carol,3\n",
			"line 3: same token as in line 1"},
		"bare quote":        {"ok,a,1\n" + canary + `"x,alice,1`, "line 2: misplaced quote"},
		"quote never ended": {"ok,a,1\n\"" + canary + ",alice,1\nb,bob,2\n", "line 2: misplaced quote"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), Config{TokenAuthFile: writeFile(t, "tokens.csv", test.content)})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range []string{"--token-auth-file", "tokens.csv", test.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the token is in %q", err)
			}
		})
	}
}

// TestShortTokensAreNamedByLine counts characters as a guesser does, and says lines only.
func TestShortTokensAreNamedByLine(t *testing.T) {
	_, short, err := parseTokens([]byte("a,u,1\n" + strings.Repeat("b", 15) + ",u,2\n" + strings.Repeat("c", 16) +
		",u,3\n"))
	if diff := cmp.Diff([]int{1, 2}, short); err != nil || diff != "" {
		t.Errorf("%v, lines (-want +got):\n%s", err, diff)
	}
}

func TestTokensAreNotKept(t *testing.T) {
	data := []byte(canary + ",alice,1\n")
	rows, _, err := parseTokens(data)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprintf("%#v", rows), canary) {
		t.Error("the table holds the token")
	}
	table := &tokenTable{}
	if err := table.apply(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	clear(data) // as pkg/reload does
	if _, ok, _ := table.AuthenticateToken(t.Context(), canary); !ok {
		t.Error("the token does not work after wiping")
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("a,b,c\nd,e,f,\"g,h\"\n"))
	f.Add([]byte("\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, _, err := parseTokens(data)
		if (rows == nil) == (err == nil) {
			t.Fatalf("rows %v with error %v", rows, err)
		}
		for _, info := range rows {
			if info.Name == "" || len(info.Groups) == 0 {
				t.Fatalf("a nameless or groupless user: %v", info)
			}
		}
	})
}

func BenchmarkTokenLookup(b *testing.B) {
	var file strings.Builder
	for n := range 10000 {
		fmt.Fprintf(&file, "%032x%08d,user-%d,%d,\"devs,ops\"\n", n, n, n, n)
	}
	table := &tokenTable{}
	if err := table.apply(b.Context(), []byte(file.String())); err != nil {
		b.Fatal(err)
	}
	token := fmt.Sprintf("%032x%08d", 4711, 4711)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := table.AuthenticateToken(b.Context(), token); !ok {
			b.Fatal("not found")
		}
	}
}
