// SPDX-License-Identifier: Apache-2.0

package sensitive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

const canary = "CANARY-5f1c0a7e"

type holder struct {
	Name  string
	Value sensitive.Value
}

type nest struct {
	Holder  holder
	Pointer *sensitive.Value
	List    []sensitive.Value
	Any     any
}

// holders are the shapes in which a value may reach a formatter.
func holders() map[string]any {
	v := sensitive.Value(canary)
	p := &v
	return map[string]any{
		"value":              v,
		"pointer":            p,
		"pointer to pointer": &p,
		"struct":             holder{Name: "n", Value: v},
		"struct pointer":     &holder{Name: "n", Value: v},
		"nested":             nest{Holder: holder{Value: v}, Pointer: p, List: []sensitive.Value{v}, Any: v},
		"slice":              []sensitive.Value{v},
		"slice of pointers":  []*sensitive.Value{p},
		"array":              [1]sensitive.Value{v},
		"map value":          map[string]sensitive.Value{"k": v},
		"map key":            map[sensitive.Value]int{v: 1},
		"map to struct":      map[string]holder{"k": {Value: v}},
		"interface slice":    []any{v, p, holder{Value: v}},
	}
}

// wantNoCanary looks for the value in clear, in hexadecimal and as a list of bytes, which fmt may print too.
func wantNoCanary(t *testing.T, text string) {
	t.Helper()
	forms := []string{
		canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary),
		strings.Trim(fmt.Sprint([]byte(canary)), "[]"), //nolint:staticcheck // the decimal list that %v makes of bytes
	}
	for _, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("the value shows in %q", text)
		}
	}
}

func TestEveryVerbRedacts(t *testing.T) {
	verbs := []string{
		"%v", "%+v", "%#v", "%s", "%+s", "%q", "%+q", "%#q", "%x", "%X", "% x", "%#x", "%d", "%b", "%o", "%c", "%U",
		"%t",
		"%e", "%f", "%g", "%T", "%10.20v", "%-40s", "%.5s", "%z", "%!", "no verb", "%[2]v",
	}
	for name, held := range holders() {
		t.Run(name, func(t *testing.T) {
			for _, verb := range verbs {
				wantNoCanary(t, fmt.Sprintf(verb, held))
			}
			wantNoCanary(t, fmt.Sprint(held))
			wantNoCanary(t, fmt.Sprintln(held))
			wantNoCanary(t, fmt.Errorf("storing %v: %w", held, errors.ErrUnsupported).Error())
			wantNoCanary(t, errors.Join(fmt.Errorf("%v", held), fmt.Errorf("%+v", held)).Error())
		})
	}
}

func TestRedactedTextIsReadable(t *testing.T) {
	v := sensitive.Value(canary)
	for _, got := range []string{v.String(), v.GoString(), fmt.Sprint(v), fmt.Sprintf("%#v", &v),
		fmt.Sprintf("%x", v)} {
		if got != sensitive.Redacted {
			t.Errorf("got %q, want %q", got, sensitive.Redacted)
		}
	}
	if got := v.Expose(); got != canary {
		t.Errorf("Expose returned %d bytes, want the plaintext", len(got))
	}
}

func TestNilPointerFormats(t *testing.T) {
	var p *sensitive.Value
	if got := fmt.Sprintf("%v %+v %s", p, p, p); strings.Contains(got, "PANIC") {
		t.Errorf("a nil value panics in fmt: %q", got)
	}
}

func TestSlogRedacts(t *testing.T) {
	v := sensitive.Value(canary)
	// A JSON handler marshals what is inside a struct, and a value marshals in clear: log values, not their holders.
	for name, attr := range map[string]any{"value": v, "pointer": &v} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			for _, handler := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
				logger := slog.New(handler).With("with", attr)
				logger.Info("write", "value", attr, slog.Group("group", slog.Any("inner", attr)))
			}
			wantNoCanary(t, buf.String())
			if got := strings.Count(buf.String(), sensitive.Redacted); got != 6 {
				t.Errorf("want 6 redacted attributes, got %d in %s", got, buf.String())
			}
		})
	}
	t.Run("holders in text", func(t *testing.T) {
		var buf bytes.Buffer
		for name, held := range holders() {
			slog.New(slog.NewTextHandler(&buf, nil)).Info("write", name, held)
		}
		wantNoCanary(t, buf.String())
	})
}

func TestKlogRedacts(t *testing.T) {
	v := sensitive.Value(canary)
	for name, held := range map[string]any{"value": v, "pointer": &v} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&buf)))
			klog.SetLogger(logger)
			t.Cleanup(klog.ClearLogger)
			klog.InfoS("write", "value", held)
			klog.ErrorS(fmt.Errorf("storing %v", held), "write", "value", held)
			klog.Infof("write %v %+v %#v", held, held, held)
			klog.Info("write ", held)
			logger.WithValues("with", held).WithName("named").Info("write", "value", held)
			klog.Flush()
			wantNoCanary(t, buf.String())
			if !strings.Contains(buf.String(), sensitive.Redacted) {
				t.Errorf("nothing was captured: %s", buf.String())
			}
		})
	}
}

func TestLogrRedacts(t *testing.T) {
	v := sensitive.Value(canary)
	var buf bytes.Buffer
	write := func(prefix, args string) { buf.WriteString(prefix + args + "\n") }
	loggers := []func(func(string, string), funcr.Options) interface{ Info(string, ...any) }{
		func(f func(string, string), o funcr.Options) interface{ Info(string, ...any) } {
			return funcr.New(f, o)
		},
		func(_ func(string, string), o funcr.Options) interface{ Info(string, ...any) } {
			return funcr.NewJSON(func(obj string) { buf.WriteString(obj + "\n") }, o)
		},
	}
	for _, logger := range loggers {
		for name, held := range holders() {
			logger(write, funcr.Options{}).Info("write", name, held)
		}
		logger(write, funcr.Options{}).Info("write", "value", v, "pointer", &v)
	}
	wantNoCanary(t, buf.String())
	if !strings.Contains(buf.String(), sensitive.Redacted) {
		t.Errorf("nothing was captured: %s", buf.String())
	}
}

// A typed client has to send the value: redaction must never reach the encoders.
func TestMarshalersKeepTheValue(t *testing.T) {
	object := nest{Pointer: sensitive.New(canary), Holder: holder{Value: canary}}
	encoders := map[string]func(any) ([]byte, error){
		"json": json.Marshal,
		"yaml": yaml.Marshal,
	}
	for name, encode := range encoders {
		t.Run(name, func(t *testing.T) {
			data, err := encode(object)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(data), canary); got != 2 {
				t.Fatalf("want the value twice, got it %d times", got)
			}
			var back nest
			if err := yaml.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			if back.Pointer.Expose() != canary || back.Holder.Value.Expose() != canary {
				t.Error("the value does not survive a round trip")
			}
		})
	}
}
