// SPDX-License-Identifier: Apache-2.0

package httpguard

// str reads a string.
func (s *jsonScanner) str() error {
	s.pos++
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c < 0x20:
			return s.syntax()
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		default:
			s.pos++
		}
	}
	return s.syntax()
}

// escape reads one escape sequence, or the two that make a surrogate pair.
func (s *jsonScanner) escape() error {
	start := s.pos
	s.pos++
	switch s.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return s.syntax()
	}
	first, ok := s.hex4()
	if !ok {
		return s.syntax()
	}
	if first < 0xD800 || first > 0xDFFF {
		return nil
	}
	// Decoders turn a half without its partner into U+FFFD: the value would not be what was sent.
	if first > 0xDBFF || s.next() != '\\' || s.next() != 'u' {
		return refuseAt(textSurrogate, "byte", start)
	}
	if second, ok := s.hex4(); !ok || second < 0xDC00 || second > 0xDFFF {
		return refuseAt(textSurrogate, "byte", start)
	}
	return nil
}

// hex4 reads four hexadecimal digits.
func (s *jsonScanner) hex4() (rune, bool) {
	var r rune
	for range 4 {
		c := s.next()
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// number reads a number.
func (s *jsonScanner) number() error {
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if !s.digits() {
		return s.syntax()
	}
	if s.at('.') {
		s.pos++
		if !s.digits() {
			return s.syntax()
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return s.syntax()
		}
	}
	return nil
}

// at says whether the byte at the position is c.
func (s *jsonScanner) at(c byte) bool {
	return s.pos < len(s.data) && s.data[s.pos] == c
}

// digits reads at least one digit.
func (s *jsonScanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}
