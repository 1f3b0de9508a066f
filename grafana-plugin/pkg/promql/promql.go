// SPDX-License-Identifier: Apache-2.0

// Package promql writes PromQL selectors whose label values come from users: a value is
// always compared as it is, and can't end the string that it stands in or act as a pattern.
package promql

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Matcher asks for a label to have one of some values, or any if there are none.
type Matcher struct {
	label   string
	values  []string
	pattern bool // the only value is a pattern
}

// Is asks for a label to have one of the values; without any, for nothing.
func Is(label string, values ...string) Matcher { return Matcher{label, values, false} }

// Matches asks for a label to match a pattern (RE2, anchored) of the program's own: no user's text may be in it.
func Matches(label, pattern string) Matcher { return Matcher{label, []string{pattern}, true} }

// Select writes a selector of a metric with all the matchers that ask for something.
func Select(metric string, matchers ...Matcher) string {
	var asked []string
	for _, m := range matchers {
		if len(m.values) > 0 {
			asked = append(asked, m.String())
		}
	}
	if asked == nil {
		return metric
	}
	return metric + "{" + strings.Join(asked, ", ") + "}"
}

// String writes the matcher as it stands between braces. Prometheus anchors patterns itself.
func (m Matcher) String() string {
	if m.pattern {
		return m.label + "=~" + Quote(m.values[0])
	}
	if len(m.values) == 1 {
		return m.label + "=" + Quote(m.values[0])
	}
	quoted := make([]string, len(m.values))
	for i, value := range m.values {
		quoted[i] = regexp.QuoteMeta(strings.ToValidUTF8(value, "\ufffd"))
	}
	return m.label + "=~" + Quote(strings.Join(quoted, "|"))
}

// Quote writes a string of PromQL, whose escapes are Go's. What is not UTF-8 can't be a
// label's value, and becomes U+FFFD.
func Quote(text string) string { return strconv.Quote(strings.ToValidUTF8(text, "\ufffd")) }

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// CheckLabel refuses what is no name of a label, because a name can't be quoted.
func CheckLabel(name string) error {
	if !labelName.MatchString(name) {
		return fmt.Errorf("%q is no label: want letters, digits and underscores", name)
	}
	return nil
}
