// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
)

// TestGzipBombStops reads as the library does, to the end: 64 MiB come out of 64 KiB, but not here.
func TestGzipBombStops(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := w.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := &boundedGzip{}
	for range 2 { // it is used again
		if err := r.Reset(bytes.NewReader(bomb.Bytes())); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); n > maxRequestBytes || !errors.Is(err, errTooLarge) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
