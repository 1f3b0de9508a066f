// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// place finds the line and column, both from 1, at which a byte of a scalar
// stands in a YAML file. The scalar begins at (line, column), as YAML counts; it
// may be plain, quoted or a block, in which line breaks, indentation and quotes
// are in the file and not in the value. So the value's characters are looked up
// in the file one after the other, all but spaces, which may stand for a line
// break. Where they aren't found (a \u escape), the scalar's own place serves.
func place(file []byte, line, column int, value string, offset int) (int, int) {
	rest, atLine, atColumn := file, line, column
	for range line - 1 {
		_, after, found := bytes.Cut(rest, []byte("\n"))
		if !found {
			return line, column
		}
		rest = after
	}
	next := func() (r rune) {
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		atColumn++
		if r == '\n' {
			atLine, atColumn = atLine+1, 1
		}
		return r
	}
	atColumn = 1
	for atColumn < column && len(rest) > 0 {
		next()
	}
	if len(rest) > 0 {
		switch rest[0] {
		case '>', '|': // the header of a block is a line of its own
			for len(rest) > 0 && next() != '\n' {
			}
		case '"', '\'':
			next()
		}
	}
	wanted := []rune(value[:offset])
	target := strings.TrimLeftFunc(value[offset:], unicode.IsSpace)
	if target != "" {
		wanted = append(wanted, []rune(target)[0])
	}
	foundLine, foundColumn := line, column
	for _, r := range wanted {
		if unicode.IsSpace(r) {
			continue
		}
		for {
			if len(rest) == 0 {
				return line, column
			}
			foundLine, foundColumn = atLine, atColumn
			if next() == r {
				break
			}
		}
	}
	if target == "" { // behind the last character
		return atLine, atColumn
	}
	return foundLine, foundColumn
}
