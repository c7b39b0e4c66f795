// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

var benchListSizes = []int{1, 500, 3000}

// benchHub is an object as the watch cache holds it.
func benchHub(name string) secret.SecureValue {
	return secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: "f1e2d3c4-b5a6-7890-abcd-ef1234567890", ResourceVersion: "12345",
			Generation:  3,
			Labels:      map[string]string{"app": "billing", "team": "payments"},
			Annotations: map[string]string{"grafana.app/createdBy": "user:ann", "grafana.app/updatedBy": "user:ann"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: "Update",
				FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:description":{}}}`)}},
		},
		Spec: secret.SecureValueSpec{Description: "External API Key",
			Decrypters: []string{"k6-cloud", "synthetic-monitoring"}},
		Status: secret.SecureValueStatus{Version: 2, Keeper: "system", Key: "aesgcm/2026-01"},
	}
}

func benchScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}

func benchEachList(b *testing.B, run func(b *testing.B, list *secret.SecureValueList)) {
	b.Helper()
	for _, size := range benchListSizes {
		list := &secret.SecureValueList{}
		for i := range size {
			list.Items = append(list.Items, benchHub(fmt.Sprintf("value-%04d", i)))
		}
		b.Run(fmt.Sprintf("items=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			run(b, list)
		})
	}
}

// BenchmarkConvertObject is what each request on one object does: to the hub on a write, from it for the response.
func BenchmarkConvertObject(b *testing.B) {
	scheme, hub := benchScheme(), benchHub("one")
	for _, size := range []int{256, 8192, secret.MaxValueBytes} {
		served := &v1beta1.SecureValue{}
		if err := scheme.Convert(&hub, served, nil); err != nil {
			b.Fatal(err)
		}
		served.Spec.Value = sensitive.New(strings.Repeat("v", size))
		b.Run(fmt.Sprintf("write/%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := scheme.Convert(served, &secret.SecureValue{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := scheme.Convert(&hub, &v1beta1.SecureValue{}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkConvertList converts a list for the response.
func BenchmarkConvertList(b *testing.B) {
	scheme := benchScheme()
	benchEachList(b, func(b *testing.B, list *secret.SecureValueList) {
		for b.Loop() {
			if err := scheme.Convert(list, &v1beta1.SecureValueList{}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEncodeList converts a list and writes it, as a response is.
func BenchmarkEncodeList(b *testing.B) {
	codecs := serializer.NewCodecFactory(benchScheme())
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
		if !ok {
			b.Fatal(mediaType)
		}
		encoder := codecs.EncoderForVersion(info.Serializer, v1beta1.SchemeGroupVersion)
		b.Run(strings.TrimPrefix(mediaType, "application/"), func(b *testing.B) {
			benchEachList(b, func(b *testing.B, list *secret.SecureValueList) {
				var out bytes.Buffer
				for b.Loop() {
					out.Reset()
					if err := encoder.Encode(list, &out); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(out.Len()))
			})
		})
	}
}
