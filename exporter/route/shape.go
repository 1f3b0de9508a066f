// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// placeholder stands for a segment that names one thing among many.
	placeholder = "{}"
	// more stands for the rest of a path that is too long.
	more = "/..."

	maxSegments     = 8
	maxSegmentBytes = 40
	maxShapeBytes   = 100
)

// Shape returns a path fit for a label where no template is known: without query,
// with {} for each segment that looks like an id, cut after 8 segments or 100
// bytes. Ids are numbers, dates and addresses, UUIDs, 8 or more hexadecimal
// digits, words with 4 or more digits, tokens of 20 or more characters with a digit
// among them, e-mail addresses, and whatever is percent-encoded, longer than 40 bytes, or has control
// characters or bytes that are no UTF-8. The shape of a shape is itself.
func Shape(path string) string {
	path = stripQuery(path)
	if path == "*" { // OPTIONS * (RFC 9112, section 3.2.4)
		return path
	}
	// A proxy sends the absolute form (RFC 9112, section 3.2.2).
	if _, after, ok := strings.Cut(path, "://"); ok && !strings.HasPrefix(path, "/") {
		_, path, _ = strings.Cut(after, "/")
	}
	var out strings.Builder
	segments := 0
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";") // Path parameters hold session ids.
		if segment == "" {
			continue
		}
		if looksLikeID(segment) {
			segment = placeholder
		}
		if segments == maxSegments || out.Len()+1+len(segment)+len(more) > maxShapeBytes {
			out.WriteString(more)
			return out.String()
		}
		out.WriteByte('/')
		out.WriteString(segment)
		segments++
	}
	if out.Len() == 0 || strings.HasSuffix(path, "/") {
		out.WriteByte('/')
	}
	return out.String()
}

func looksLikeID(segment string) bool {
	if len(segment) > maxSegmentBytes || !utf8.ValidString(segment) ||
		strings.ContainsFunc(segment, func(r rune) bool { return r == '%' || !unicode.IsPrint(r) }) {
		return true
	}
	if name, host, ok := strings.Cut(segment, "@"); ok && name != "" && strings.Contains(host, ".") {
		return true
	}
	digits, hexadecimal, token, numeric := 0, 0, 0, 0
	for i := range len(segment) {
		c := segment[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			hexadecimal++
		case c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z' || strings.IndexByte("=+~", c) >= 0:
			token++
		case strings.IndexByte("-_.:,", c) >= 0:
			numeric++
		default:
			return false
		}
	}
	switch {
	case digits > 0 && hexadecimal == 0 && token == 0: // 42, 2024-01-31, 10.0.0.1
		return true
	case token == 0 && numeric == 0 && len(segment) >= 8: // deadbeef
		return true
	case isUUID(segment):
		return true
	default: // visitor-101620, eyJhbGciOiJIUzI1NiJ9
		return digits >= 4 || digits > 0 && len(segment) >= 20
	}
}

// isUUID tells whether s has the 8-4-4-4-12 digits of RFC 9562, whose digits the
// caller has not looked at one by one.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}
