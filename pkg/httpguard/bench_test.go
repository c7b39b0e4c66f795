// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"strings"
	"testing"
)

func BenchmarkCheck(b *testing.B) {
	large := strings.Repeat("v", 24576)
	object := `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"name":"one"},"spec":{"description":"d","value":"` + large + `"}}`
	for name, test := range map[string]struct {
		check func([]byte) error
		body  string
	}{
		"json":  {checkJSON, object},
		"yaml":  {checkYAML, object},
		"patch": {checkJSONPatch, `[{"op":"replace","path":"/spec/value","value":"` + large + `"}]`},
	} {
		b.Run(name, func(b *testing.B) {
			body := []byte(test.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := test.check(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScrubQuery(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ScrubQuery(listPath, "limit=500&fieldSelector=metadata.name%3Da&resourceVersion=0")
	}
}
