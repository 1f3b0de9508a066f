// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

const (
	// readSize is how much of a stream is held at a time, if no token is longer.
	readSize = 64 << 10
	// maxToken is the longest string or number that an answer may have, bytes. The longest
	// that Prometheus gives are warnings and help texts.
	maxToken = 1 << 20
	// maxDepth is how deep values may lie in each other, as in encoding/json.
	maxDepth = 10000
)

// scanner reads JSON (RFC 8259) from a stream, value by value, and accepts exactly what
// encoding/json does. What it returns is valid until the next call.
type scanner struct {
	in     io.Reader
	buffer []byte
	next   int // index in buffer of the first byte that was not taken
	read   int64
	ended  error // what the stream ended with
	key    []byte
	depth  int
}

func newScanner(in io.Reader) *scanner {
	return &scanner{in: in, buffer: make([]byte, 0, readSize)}
}

// fail says where in the stream something is wrong.
func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("byte %d: %w", s.read-int64(len(s.buffer)-s.next), fmt.Errorf(format, args...))
}

// more reads on, and keeps what was not taken. The error is that of the stream,
// io.ErrUnexpectedEOF at its end.
func (s *scanner) more() error {
	if s.next > 0 {
		s.buffer = s.buffer[:copy(s.buffer, s.buffer[s.next:])]
		s.next = 0
	}
	if len(s.buffer) == cap(s.buffer) {
		if len(s.buffer) > maxToken {
			return s.fail("a string or number is longer than %d bytes", maxToken)
		}
		s.buffer = append(make([]byte, 0, 2*cap(s.buffer)), s.buffer...)
	}
	for empty := 0; s.ended == nil; empty++ {
		n, err := s.in.Read(s.buffer[len(s.buffer):cap(s.buffer)])
		s.buffer = s.buffer[:len(s.buffer)+n]
		s.read += int64(n)
		if s.ended = err; err == nil && n == 0 && empty == 100 {
			s.ended = io.ErrNoProgress
		}
		if n > 0 {
			return nil
		}
	}
	if errors.Is(s.ended, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return s.ended
}

// peek returns the next byte that is no white space, and does not take it.
func (s *scanner) peek() (byte, error) {
	for {
		for ; s.next < len(s.buffer); s.next++ {
			switch c := s.buffer[s.next]; c {
			case ' ', '\t', '\n', '\r':
			default:
				return c, nil
			}
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
}

// take takes the byte given and nothing else.
func (s *scanner) take(want byte) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c != want {
		return s.fail("got %q, want %q", c, want)
	}
	s.next++
	return nil
}

// end takes the white space behind a value, and refuses anything else.
func (s *scanner) end() error {
	c, err := s.peek()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && errors.Is(s.ended, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return s.fail("got %q behind the end", c)
}

// object calls member for each member, which takes its value. The key is valid until then.
func (s *scanner) object(member func(key []byte) error) error {
	return s.list('{', '}', func() error {
		key, err := s.text()
		if err != nil {
			return err
		}
		s.key = append(s.key[:0], key...) // what lies in the buffer changes when more is read
		if err := s.take(':'); err != nil {
			return err
		}
		return member(s.key)
	})
}

// array calls element for each element, which takes it.
func (s *scanner) array(element func() error) error { return s.list('[', ']', element) }

func (s *scanner) list(open, shut byte, each func() error) error {
	if err := s.take(open); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail("values are nested deeper than %d", maxDepth)
	}
	defer func() { s.depth-- }()
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c == shut {
		s.next++
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		c, err := s.peek()
		if err != nil {
			return err
		}
		switch c {
		case ',':
			s.next++
		case shut:
			s.next++
			return nil
		default:
			return s.fail("got %q, want %q or %q", c, ',', shut)
		}
	}
}

// text takes a string. What is not UTF-8 in it becomes U+FFFD, as in encoding/json.
func (s *scanner) text() ([]byte, error) {
	if err := s.take('"'); err != nil {
		return nil, err
	}
	plain := true
	for i := 0; ; i++ {
		if s.next+i == len(s.buffer) {
			if err := s.more(); err != nil {
				return nil, err
			}
		}
		switch c := s.buffer[s.next+i]; {
		case c == '"':
			raw := s.buffer[s.next : s.next+i]
			s.next += i + 1
			if plain {
				return raw, nil
			}
			return s.unquote(raw)
		case c == '\\':
			plain = false
			// Whatever is escaped doesn't end the string.
			if i++; s.next+i == len(s.buffer) {
				if err := s.more(); err != nil {
					return nil, err
				}
			}
		case c < ' ':
			return nil, s.fail("control character %q in a string", c)
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
}

// unquote leaves what few strings have to encoding/json.
func (s *scanner) unquote(raw []byte) ([]byte, error) {
	var text string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, s.fail("%w", err)
	}
	return []byte(text), nil
}

// number takes a number.
func (s *scanner) number() ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		if s.next+i == len(s.buffer) {
			// A number that ends the stream is not cut off.
			if err := s.more(); err != nil && !errors.Is(s.ended, io.EOF) {
				return nil, err
			}
		}
		if s.next+i < len(s.buffer) {
			switch c := s.buffer[s.next+i]; {
			case '0' <= c && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
				continue
			}
		}
		raw := s.buffer[s.next : s.next+i]
		if !isNumber(raw) {
			return nil, s.fail("got %q, want a number", s.buffer[s.next:min(s.next+max(i, 1), len(s.buffer))])
		}
		s.next += i
		return raw, nil
	}
}

// isNumber tells whether the text is a number of RFC 8259, section 6.
func isNumber(text []byte) bool {
	digits := func() bool {
		i := 0
		for i < len(text) && '0' <= text[i] && text[i] <= '9' {
			i++
		}
		text = text[i:]
		return i > 0
	}
	if len(text) > 0 && text[0] == '-' {
		text = text[1:]
	}
	if len(text) > 0 && text[0] == '0' {
		text = text[1:]
	} else if !digits() {
		return false
	}
	if len(text) > 0 && text[0] == '.' {
		if text = text[1:]; !digits() {
			return false
		}
	}
	if len(text) > 0 && (text[0] == 'e' || text[0] == 'E') {
		text = text[1:]
		if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
			text = text[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(text) == 0
}

// skip takes a value of any kind.
func (s *scanner) skip() error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return s.object(func([]byte) error { return s.skip() })
	case '[':
		return s.array(s.skip)
	case '"':
		_, err = s.text()
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	default:
		_, err = s.number()
	}
	return err
}

// null takes null if that is next, and tells whether it was.
func (s *scanner) null() (bool, error) {
	c, err := s.peek()
	if err != nil || c != 'n' {
		return false, err
	}
	return true, s.word("null")
}

func (s *scanner) word(want string) error {
	for i := range len(want) {
		if s.next == len(s.buffer) {
			if err := s.more(); err != nil {
				return err
			}
		}
		if s.buffer[s.next] != want[i] {
			return s.fail("got %q, want %q", s.buffer[s.next], want)
		}
		s.next++
	}
	return nil
}
