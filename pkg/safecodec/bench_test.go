// SPDX-License-Identifier: Apache-2.0

package safecodec_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// BenchmarkDecode reads the body of a create through the wrapper that keeps errors free of values, good and bad.
func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{256, 8192, secret.MaxValueBytes} {
		value := strings.Repeat("v", size)
		good, wrong := benchProtobuf(b, value), body(`{"description":1,"value":"`+value+`"}`)
		for _, test := range []struct {
			name, mediaType string
			data            []byte
			fails           bool
		}{
			{"json", runtime.ContentTypeJSON, []byte(body(`{"description":"d","value":"` + value + `"}`)), false},
			{"protobuf", runtime.ContentTypeProtobuf, good, false},
			{"json-refused", runtime.ContentTypeJSON, []byte(wrong), true},
		} {
			decoder := decoders(b, test.mediaType)["lenient"]
			b.Run(fmt.Sprintf("%s/%dB", test.name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(test.data)))
				for b.Loop() {
					if _, _, err := decoder.Decode(test.data, &kind,
						&secret.SecureValue{}); (err != nil) != test.fails {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func benchProtobuf(b *testing.B, value string) []byte {
	b.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	sv := &v1beta1.SecureValue{Spec: v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(value)}}
	sv.Name = "n"
	sv.SetGroupVersionKind(kind)
	var out bytes.Buffer
	if err := protobuf.NewSerializer(scheme, scheme).Encode(sv, &out); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
