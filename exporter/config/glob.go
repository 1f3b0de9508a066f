// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"regexp"
	"strings"
)

// Glob is a pattern for the whole of a text: * stands for any characters, slashes
// too, ? for any one, [a-z] for one of a set and [!a-z] for one of no set; a
// backslash takes the meaning from the next character.
type Glob struct {
	pattern  string
	compiled *regexp.Regexp
}

// String returns the pattern.
func (g Glob) String() string { return g.pattern }

// Match tells whether the pattern stands for the whole text. The zero Glob stands
// for none.
func (g Glob) Match(text string) bool {
	return g.compiled != nil && g.compiled.MatchString(text)
}

// UnmarshalText compiles a pattern.
func (g *Glob) UnmarshalText(text []byte) error {
	compiled, err := ParseGlob(string(text))
	if err == nil {
		*g = compiled
	}
	return err
}

// ParseGlob compiles a pattern.
func ParseGlob(pattern string) (Glob, error) {
	if pattern == "" {
		return Glob{}, errors.New("pattern is empty")
	}
	var out strings.Builder
	out.WriteString(`(?s)\A`)
	for rest := pattern; rest != ""; {
		c := rest[0]
		size := 1
		switch c {
		case '*':
			out.WriteString(".*")
		case '?':
			out.WriteString(".")
		case '[':
			end := strings.IndexByte(rest, ']')
			set, negated := "", ""
			if end > 0 {
				set = rest[1:end]
				if strings.HasPrefix(set, "!") || strings.HasPrefix(set, "^") {
					set, negated = set[1:], "^"
				}
			}
			if set == "" {
				return Glob{}, errors.New("a [ has no ] after at least one character, write \\[ for the character itself")
			}
			out.WriteString("[" + negated + strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`, "&", `\&`).Replace(set) + "]")
			size = end + 1
		case '\\':
			if len(rest) == 1 {
				return Glob{}, errors.New("nothing follows the last backslash")
			}
			rest = rest[1:]
			fallthrough
		default:
			next := strings.IndexAny(rest[1:], `*?[\`) + 1
			if next == 0 {
				next = len(rest)
			}
			out.WriteString(regexp.QuoteMeta(rest[:next]))
			size = next
		}
		rest = rest[size:]
	}
	out.WriteString(`\z`)
	compiled, err := regexp.Compile(out.String())
	if err != nil {
		return Glob{}, errors.New("a set in brackets is invalid")
	}
	return Glob{pattern: pattern, compiled: compiled}, nil
}

// literalGlob matches the text itself.
func literalGlob(text string) Glob {
	escaped := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(text)
	return Glob{pattern: escaped, compiled: regexp.MustCompile(`\A` + regexp.QuoteMeta(text) + `\z`)}
}
