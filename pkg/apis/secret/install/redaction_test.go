// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

const canary = "CANARY-91b2d6f3"

// everyType is every type of the group that can hold a value, as it stands in memory: by pointer, by value, nested.
func everyType(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{}
	for gvk, goType := range newScheme().AllKnownTypes() {
		if gvk.Group != secret.GroupName || !strings.HasPrefix(gvk.Kind, "SecureValue") {
			continue
		}
		object := reflect.New(goType)
		placed := placeCanary(object.Elem())
		if gvk.Kind == "SecureValueRewrap" || gvk.Kind == "SecureValueReseal" {
			if placed != 0 {
				t.Fatalf("%s has a place for a value: it must neither set nor show one", gvk)
			}
			continue
		}
		if placed == 0 {
			t.Fatalf("%s has no place for a value", gvk)
		}
		name := gvk.Version + "." + gvk.Kind
		all["*"+name] = object.Interface()
		all[name] = object.Elem().Interface()
		all["[]*"+name] = []any{object.Interface()}
		all["map of *"+name] = map[string]any{"object": object.Interface()}
	}
	all["*hub spec"] = &secret.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}
	all["hub spec"] = secret.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}
	all["*v1beta1 spec"] = &v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}
	all["v1beta1 spec"] = v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}
	return all
}

// placeCanary sets every sensitive.Value below v, making one element of each slice, and counts them.
func placeCanary(v reflect.Value) int {
	switch {
	case v.Type() == reflect.TypeFor[sensitive.Value]():
		v.SetString(canary)
		return 1
	case v.Kind() == reflect.Pointer && v.Type().Elem() == reflect.TypeFor[sensitive.Value]():
		v.Set(reflect.New(v.Type().Elem()))
		return placeCanary(v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return placeCanary(v.Index(0))
	case v.Kind() == reflect.Struct:
		placed := 0
		for _, f := range v.Fields() {
			if f.CanSet() {
				placed += placeCanary(f)
			}
		}
		return placed
	}
	return 0
}

func wantNoCanary(t *testing.T, how, text string) {
	t.Helper()
	if text == "" {
		t.Errorf("%s: nothing was written", how)
	}
	//nolint:staticcheck // the decimal list that %v makes of bytes
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]")} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the value: %s", how, text)
		}
	}
}

// Incident class 1: no formatter prints the value of any API type.
func TestNoTypeFormatsItsValue(t *testing.T) {
	for name, object := range everyType(t) {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				wantNoCanary(t, verb, fmt.Sprintf(verb, object))
			}
			wantNoCanary(t, "error", fmt.Errorf("storing %v", object).Error())
		})
	}
}

// The generated String of protobuf types goes through the value's own Format.
func TestGeneratedStringRedacts(t *testing.T) {
	spec := v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}
	object := v1beta1.SecureValue{Spec: spec}
	list := v1beta1.SecureValueList{Items: []v1beta1.SecureValue{object}}
	for name, object := range map[string]fmt.Stringer{"spec": &spec, "object": &object, "list": &list} {
		text := object.String()
		wantNoCanary(t, name, text)
		if !strings.Contains(text, sensitive.Redacted) {
			t.Errorf("%s: want %s in %s", name, sensitive.Redacted, text)
		}
	}
}

// Structured loggers marshal what they do not know as JSON, and JSON of a value is in clear.
func TestNoLoggerShowsAnObjectsValue(t *testing.T) {
	for name, object := range everyType(t) {
		if strings.HasPrefix(name, "[]*v1beta1") || strings.HasPrefix(name, "map of *v1beta1") {
			continue // JSON of a typed client's own containers has to hold the value
		}
		t.Run(name, func(t *testing.T) {
			for logger, write := range loggers() {
				wantNoCanary(t, logger, write(object))
			}
		})
	}
}

// loggers writes an object with each logger that a server or client of this project may be run with.
func loggers() map[string]func(any) string {
	viaSlog := func(handler func(*bytes.Buffer) slog.Handler) func(any) string {
		return func(object any) string {
			var buf bytes.Buffer
			slog.New(handler(&buf)).With("with", object).Info("write", "object", object)
			return buf.String()
		}
	}
	return map[string]func(any) string{
		"slog text": viaSlog(func(buf *bytes.Buffer) slog.Handler { return slog.NewTextHandler(buf, nil) }),
		"slog json": viaSlog(func(buf *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(buf, nil) }),
		"klog": func(object any) string {
			var buf bytes.Buffer
			klog.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&buf))))
			defer klog.ClearLogger()
			klog.InfoS("write", "object", object)
			klog.ErrorS(nil, "write", "object", object)
			klog.Infof("write %+v", object)
			return buf.String()
		},
		"funcr": func(object any) string {
			var text strings.Builder
			funcr.New(func(prefix, args string) { text.WriteString(prefix + args) }, funcr.Options{}).Info("write",
				"object", object)
			return text.String()
		},
		"funcr json": func(object any) string {
			var text strings.Builder
			funcr.NewJSON(func(line string) { text.WriteString(line) }, funcr.Options{}).Info("write", "object", object)
			return text.String()
		},
	}
}

// Loggers that know logr and not log/slog, such as zapr, marshal what MarshalLog returns.
func TestMarshalLogRedacts(t *testing.T) {
	spec := v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}
	object := v1beta1.SecureValue{Spec: spec}
	list := v1beta1.SecureValueList{Items: []v1beta1.SecureValue{object}}
	for _, marshaler := range []logr.Marshaler{spec, &spec, object, &object, list, &list} {
		data, err := json.Marshal(marshaler.MarshalLog())
		if err != nil {
			t.Fatal(err)
		}
		wantNoCanary(t, fmt.Sprintf("%T", marshaler), string(data))
		if !strings.Contains(string(data), sensitive.Redacted) {
			t.Errorf("%T: the log does not say that there is a value: %s", marshaler, data)
		}
	}
}

// The hub never travels, so even its JSON holds no value: an encoder used on it by mistake cannot leak.
func TestHubJSONHasNoValue(t *testing.T) {
	hub := secret.SecureValue{Spec: secret.SecureValueSpec{Description: "d", Value: sensitive.New(canary),
		Decrypters: []string{"k6-cloud"}}}
	for name, object := range map[string]runtime.Object{"object": &hub,
		"list": &secret.SecureValueList{Items: []secret.SecureValue{hub}}} {
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		wantNoCanary(t, name, string(data))
		if !strings.Contains(string(data), "k6-cloud") {
			t.Errorf("%s: the rest of the spec is gone: %s", name, data)
		}
	}
}

// The served type does travel: a typed client sends its value.
func TestServedJSONHasTheValue(t *testing.T) {
	object := v1beta1.SecureValue{Spec: v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(canary)}}
	for name, encode := range map[string]func() ([]byte, error){
		"json":     func() ([]byte, error) { return json.Marshal(object) },
		"protobuf": object.Marshal,
	} {
		data, err := encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte(canary)) {
			t.Errorf("%s: the value would not reach the server", name)
		}
	}
}
