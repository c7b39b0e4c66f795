// SPDX-License-Identifier: Apache-2.0

// Package screen reads what a program shows on a pseudo-terminal, for tests of programs that talk to people.
package screen

import (
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Screen collects what a terminal shows.
type Screen struct {
	mu    sync.Mutex
	shown strings.Builder
	seen  int
	done  chan struct{}
}

// Watch reads the control side of a terminal until the other side is closed.
func Watch(control io.Reader) *Screen {
	s := &Screen{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buffer := make([]byte, 4096)
		for {
			n, err := control.Read(buffer)
			s.mu.Lock()
			s.shown.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil { // EIO, once the other side is closed
				return
			}
		}
	}()
	return s
}

// Wait returns once the other side is closed and all is read.
func (s *Screen) Wait() { <-s.done }

// Text is everything that was shown.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// Next reports whether text is shown behind what it found before.
func (s *Screen) Next(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := strings.Index(s.shown.String()[s.seen:], text)
	if at < 0 {
		return false
	}
	s.seen += at + len(text)
	return true
}

// Echoes reports whether a terminal shows what is typed.
func Echoes(tty *os.File) (bool, error) {
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return false, err
	}
	return state.Lflag&unix.ECHO != 0, nil
}
