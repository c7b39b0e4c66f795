// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/kubernetes/pkg/kubelet/util/env"

	"github.com/securevalue/secret-apiserver/pkg/agent"
)

// TestKubeletReadsEnvFiles: the kubelet reads each value of an env file as it was written, or the writer refused it.
// ORACLE_SEED repeats a run.
func TestKubeletReadsEnvFiles(t *testing.T) {
	const values, eachFile = 100_000, 20
	seed := number(t, "ORACLE_SEED", time.Now().UnixNano())
	t.Logf("ORACLE_SEED=%d", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 2))
	pieces := []string{"'", "\"", "\\", "\n", "\r", "\r\n", "\x00", "#", "=", " ", "\t", "$x", "`x`", "ä", "\ufeff", "\u2028", "\xff", "x", "A='b'", "export "}
	value := func() string {
		var text strings.Builder
		for range random.IntN(8) {
			if piece := random.IntN(2 * len(pieces)); piece < len(pieces) {
				text.WriteString(pieces[piece])
			} else {
				text.WriteByte(byte(random.IntN(256)))
			}
		}
		if random.IntN(100) == 0 {
			text.WriteString(strings.Repeat("x", 24<<10))
		}
		return text.String()
	}
	path := filepath.Join(t.TempDir(), "app.env")
	written, refused := 0, 0
	for written+refused < values {
		content, want := "", map[string]string{}
		for i := range eachFile {
			name, text := "V_"+string(rune('A'+i)), value()
			line, err := agent.EnvLine(name, text)
			if err != nil {
				refused++
				continue
			}
			content += line
			want[name] = text
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			written++
			if got, err := env.ParseEnv(path, name); err != nil || got != text {
				t.Fatalf("%q is read as %q, %v", text, got, err)
			}
		}
	}
	t.Logf("%d values, %d were refused", written, refused)
	if written < values/3 || refused < values/20 {
		t.Error("too few of one outcome to mean anything")
	}
}
