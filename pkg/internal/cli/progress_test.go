// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestBarOnATerminal(t *testing.T) {
	var screen bytes.Buffer
	bar := &Bar{out: &screen, label: Bytes}
	bar.Add(512, 1024)
	bar.Add(512, 1024)
	bar.End()
	want := "\r[" + strings.Repeat("=", 15) + strings.Repeat(" ", 15) + "] 512 B of 1.0 KiB\x1b[K" +
		"\r[" + strings.Repeat("=", 30) + "] 1.0 KiB of 1.0 KiB\x1b[K\r\x1b[K"
	if got := screen.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestNoBarBesideATerminal(t *testing.T) {
	var file bytes.Buffer
	bar := New(&file, Values)
	bar.Add(1, 1)
	bar.End()
	if bar != nil || file.Len() > 0 {
		t.Errorf("drew %q", &file)
	}
}

func TestLabels(t *testing.T) {
	if got := Bytes(2048, 0); got != "2.0 KiB" {
		t.Errorf("of an unknown total: %q", got)
	}
	if got := Values(1, 3); got != "1 of 3 values" {
		t.Errorf("got %q", got)
	}
	for n, want := range map[int64]string{0: "0 values", 1: "1 value", 200000: "200000 values"} {
		if got := NumberOfValues(n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
