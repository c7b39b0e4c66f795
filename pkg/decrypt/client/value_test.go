// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func TestAttackValueShowsItselfNowhere(t *testing.T) {
	canary := harness.Canary()
	v := newValue(canary, 7)
	type holder struct {
		Exported   Value
		unexported Value
		pointer    *Value
		many       map[string]Value
	}
	h := holder{v, v, &v, map[string]Value{"a": v}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+"\n", v, &v, h, []Value{v})
	}
	fmt.Fprintln(&out, v, h, &h)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, xml.Marshal} {
		for _, object := range []any{v, &v, map[string]Value{"a": v}, struct{ A, B any }{v, &v}} {
			data, _ := marshal(object) // XML knows no maps
			out.Write(data)
		}
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v, "h", h, "p", &v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v, "h", h, "p", &v)
	logged(t, &out, func() { klog.InfoS("x", "v", v, "h", h, "p", &v); klog.Info(v, h) })
	out.WriteString(cmp.Diff(v.String(), "", cmp.AllowUnexported(holder{})))
	out.WriteString(errors.Join(fmt.Errorf("with %v", v)).Error())
	if found := harness.Find(out.Bytes(), canary); len(found) > 0 {
		t.Errorf("found %v in\n%s", found, out.String())
	}
	if v.Version() != 7 || v.Expose() != canary || (Value{}).Expose() != "" {
		t.Error("Expose or Version does not")
	}
}

func logged(t *testing.T, out *bytes.Buffer, log func()) {
	t.Helper()
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"}); err != nil {
		t.Fatal(err)
	}
	klog.SetOutput(out)
	log()
	klog.Flush()
	if err := flags.Parse([]string{"-logtostderr=true"}); err != nil {
		t.Fatal(err)
	}
}

func TestAttackErrorsHoldNoValue(t *testing.T) {
	canary := harness.Canary()
	s := newServer(t)
	s.token = harness.Canary()
	writeFile(t, s.tokenFile, s.token)
	s.set("good", canary)
	s.set("broken", "error: decryption failed")
	_, err := s.client(t).Get(t.Context(), "default", "good", "broken", "absent")
	if err == nil {
		t.Fatal("no error")
	}
	if found := harness.Find(fmt.Appendf(nil, "%v %+v %#v", err, err, err), canary, s.token); len(found) > 0 {
		t.Errorf("found %v in %v", found, err)
	}
}
