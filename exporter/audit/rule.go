// SPDX-License-Identifier: Apache-2.0

// Package audit judges how the kernel's parameters, the listening sockets and
// the http.Servers of a machine fit together, by rules that are data
// (rules.yaml, and files of the user's own in the same schema).
package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Severity is how bad a finding is.
type Severity string

// The severities, the mildest first.
const (
	Info     Severity = "info"     // worth knowing
	Warning  Severity = "warning"  // will hurt under load or attack
	Critical Severity = "critical" // connections are being lost now
)

var severities = []string{string(Info), string(Warning), string(Critical)}

// Severities lists them, the mildest first.
func Severities() []string { return slices.Clone(severities) }

// AtLeast tells whether a severity is as bad as another or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(severities, string(s)) >= slices.Index(severities, string(other))
}

// UnmarshalText reads a severity.
func (s *Severity) UnmarshalText(text []byte) error {
	return oneOf("severity", s, text, severities)
}

// UnmarshalText reads a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	var all []string
	for _, kind := range Kinds {
		all = append(all, string(kind))
	}
	return oneOf("subject", k, text, all)
}

func oneOf[T ~string](what string, into *T, text []byte, valid []string) error {
	if !slices.Contains(valid, string(text)) {
		return fmt.Errorf("unknown %s %q%s", what, text, strictyaml.Suggest(string(text), valid))
	}
	*into = T(text)
	return nil
}

// Rule is a rule that has been checked.
type Rule struct {
	ID       string
	Severity Severity
	For      Kind
	Why      string
	Link     string // to more about it

	When string // as it is written
	What string
	Fix  string

	when      *expression
	what, fix template
}

// template is a text with expressions in braces.
type template []part

// part is text, and behind it an expression unless it is nil.
type part struct {
	text       string
	expression *expression
}

// parseTemplate checks a text in which {EXPRESSION} stands for a value; {{ and }}
// stand for the braces themselves.
func parseTemplate(text string, about Kind) (template, *problem) {
	var all template
	var literal strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c:
			literal.WriteByte(c)
			i++
		case c == '}':
			return nil, &problem{i, `a } without a {; write }} for the character itself`}
		case c == '{':
			size := strings.IndexByte(text[i:], '}')
			if size < 0 {
				return nil, &problem{i, `a { without a }; write {{ for the character itself`}
			}
			e, p := compile(text[i+1:i+size], about)
			if p != nil {
				return nil, &problem{i + 1 + p.offset, p.message}
			}
			all = append(all, part{literal.String(), e})
			literal.Reset()
			i += size
		default:
			literal.WriteByte(c)
		}
	}
	return append(all, part{text: literal.String()}), nil
}

// fill puts values in, each passed through quote first.
func (t template) fill(in inputs, quote func(string) string) string {
	var out strings.Builder
	for _, p := range t {
		out.WriteString(p.text)
		if p.expression != nil {
			out.WriteString(quote(in.eval(p.expression.root).format(p.expression.of)))
		}
	}
	return out.String()
}
