// SPDX-License-Identifier: Apache-2.0

package promql

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSelect_writes_what_Prometheus_documents(t *testing.T) {
	for want, got := range map[string]string{
		`up`:                                  Select("up"),
		`up{job="a"}`:                         Select("up", Is("job", "a"), Is("service")),
		`up{job="a", service=~"b|c\\.d"}`:     Select("up", Is("job", "a"), Is("service", "b", "c.d")),
		`up{a=~"5..|panic"}`:                  Select("up", Matches("a", "5..|panic")),
		`up{path="/users/{id}\"} or vector"}`: Select("up", Is("path", `/users/{id}"} or vector`)),
		`up{a="\\"}`:                          Select("up", Is("a", `\`)),
		`up{a="line\nbreak"}`:                 Select("up", Is("a", "line\nbreak")),
		`up{a=""}`:                            Select("up", Is("a", "")),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCheckLabel_takes_names_of_labels_alone(t *testing.T) {
	for name, want := range map[string]bool{"cluster": true, "_a1": true, "": false, "1a": false, "a-b": false, `a="x"} or up{b`: false, "a\n": false} {
		if got := CheckLabel(name) == nil; got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// A reader of PromQL that knows no more than strings: whatever the values, the selector is one string
// between the braces and matches the values, and nothing else.
func FuzzSelect_matches_the_values_given_and_no_other(f *testing.F) {
	f.Add("checkout", "a|b", "other")
	f.Add(`"} or vector(1) or up{a="`, `\`, `.*`)
	f.Add("a\nb", "\x00\xff", "^$")
	f.Add("", "()", "\\E.*\\Q")
	f.Fuzz(func(t *testing.T, first, second, other string) {
		for _, values := range [][]string{{first}, {first, second}} {
			text := Select("up", Is("a", values...))
			inner, begins := strings.CutPrefix(text, "up{a=")
			inner, ends := strings.CutSuffix(inner, "}")
			pattern := strings.HasPrefix(inner, "~")
			literal := strings.TrimPrefix(inner, "~")
			value, err := strconv.Unquote(literal)
			if prefix, _ := strconv.QuotedPrefix(literal); !begins || !ends || err != nil || prefix != literal || literal[0] != '"' || strings.Contains(literal, "\n") {
				t.Fatalf("%q gives %s", values, text)
			}
			for _, candidate := range []string{first, second, other, first + second, "", "a"} {
				if !utf8.ValidString(candidate) || !utf8.ValidString(first) || !utf8.ValidString(second) {
					continue
				}
				matches := candidate == value
				if pattern {
					// Prometheus compiles "^(?s:" + pattern + ")$".
					matches = regexp.MustCompile("^(?s:" + value + ")$").MatchString(candidate)
				}
				if want := slices.Contains(values, candidate); matches != want {
					t.Fatalf("%s matches %q: %v, want %v", text, candidate, matches, want)
				}
			}
		}
	})
}
