// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apiserver"
)

const apiVersion = "secret.grafana.app/v1beta1"

// format is how a document is written.
type format int

const (
	asJSON format = iota
	asYAML
	asJSONPatch
	asProtobuf
)

// document is a body before it is written.
type document struct {
	name, kind string
	// text is spec.value; raw, when set, stands in its place as it is, so that it need not be a string.
	text, raw string
	// spec and top are further members, in JSON.
	spec, top []member
	// annotation is what kubectl would have left of the manifest.
	annotation string
	// mangle changes the written body.
	mangle func(body string) string
	// contentType is another than that of the format.
	contentType string
	// breakOff ends the connection half way through.
	breakOff bool
}

type member struct{ name, raw string }

func (d document) write(t *testing.T, f format) string {
	t.Helper()
	if d.kind == "" {
		d.kind = "SecureValue"
	}
	if d.raw == "" && d.text != "" {
		d.raw = quote(d.text)
	}
	var body string
	switch f {
	case asYAML:
		body = d.yaml()
	case asJSONPatch:
		body = d.jsonPatch()
	case asProtobuf:
		body = d.protobuf(t)
	default:
		body = d.json()
	}
	if d.mangle != nil {
		body = d.mangle(body)
	}
	return body
}

func (d document) json() string {
	spec := append([]member{{"description", `"leak test"`}, {"decrypters", `["k6-cloud"]`}}, d.spec...)
	if d.raw != "" {
		spec = append(spec, member{"value", d.raw})
	}
	top := append([]member{
		{"apiVersion", quote(apiVersion)}, {"kind", quote(d.kind)},
		{"metadata", d.metadata()}, {"spec", object(spec)},
	}, d.top...)
	return object(top)
}

func (d document) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata: %s\nspec:\n  description: leak test\n  decrypters: "+
		"[k6-cloud]\n",
		apiVersion, d.kind, d.metadata())
	for _, m := range d.spec {
		fmt.Fprintf(&b, "  %s: %s\n", m.name, m.raw)
	}
	if d.raw != "" {
		fmt.Fprintf(&b, "  value: %s\n", d.raw)
	}
	for _, m := range d.top {
		fmt.Fprintf(&b, "%s: %s\n", m.name, m.raw)
	}
	return b.String()
}

func (d document) jsonPatch() string {
	var operations []string
	add := func(path, raw string) {
		operations = append(operations, fmt.Sprintf(`{"op":"add","path":%q,"value":%s}`, path, raw))
	}
	for _, m := range d.spec {
		add("/spec/"+m.name, m.raw)
	}
	if d.raw != "" {
		add("/spec/value", d.raw)
	}
	for _, m := range d.top {
		add("/"+m.name, m.raw)
	}
	if d.annotation != "" {
		add("/metadata/annotations", object([]member{{corev1.LastAppliedConfigAnnotation, quote(d.annotation)}}))
	}
	if d.kind != "SecureValue" {
		add("/kind", quote(d.kind))
	}
	return "[" + strings.Join(operations, ",") + "]"
}

func (d document) protobuf(t *testing.T) string {
	t.Helper()
	sv := &v1beta1.SecureValue{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: d.kind},
		ObjectMeta: metav1.ObjectMeta{Name: d.name},
		Spec:       v1beta1.SecureValueSpec{Description: "leak test", Decrypters: []string{"k6-cloud"}},
	}
	if d.text != "" {
		sv.Spec.Value = sensitive.New(d.text)
	}
	if d.annotation != "" {
		sv.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: d.annotation}
	}
	data, err := runtime.Encode(protobuf.NewSerializer(apiserver.Scheme, apiserver.Scheme), sv)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func (d document) metadata() string {
	members := []member{{"name", quote(d.name)}}
	if d.annotation != "" {
		annotation := object([]member{{corev1.LastAppliedConfigAnnotation, quote(d.annotation)}})
		members = append(members, member{"annotations", annotation})
	}
	return object(members)
}

func object(members []member) string {
	all := make([]string, 0, len(members))
	for _, m := range members {
		all = append(all, quote(m.name)+": "+m.raw)
	}
	return "{" + strings.Join(all, ",") + "}"
}

func quote(s string) string {
	quoted, _ := json.Marshal(s) // a string always marshals
	return string(quoted)
}
