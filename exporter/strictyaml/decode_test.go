// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"errors"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// everything has one field of each kind that Decode knows.
type everything struct {
	Name     string            `yaml:"name"`
	On       bool              `yaml:"on_or_off"`
	Int      int               `yaml:"int"`
	Int8     int8              `yaml:"int8"`
	Port     uint16            `yaml:"port"`
	Big      uint64            `yaml:"big"`
	Ratio    float64           `yaml:"ratio"`
	Small    float32           `yaml:"small"`
	Window   time.Duration     `yaml:"window"`
	Ports    []uint16          `yaml:"ports"`
	Labels   map[string]string `yaml:"labels"`
	Codes    map[int]string    `yaml:"codes"`
	Optional *int              `yaml:"optional"`
	Nested   inner             `yaml:"nested"`
	List     []inner           `yaml:"list"`
	Pattern  *regexp.Regexp    `yaml:"pattern"`
	Free     any               `yaml:"free"`
	Variant  variant           `yaml:"variant"`
	Variants []variant         `yaml:"variants"`
	Plain    string
	common   `yaml:",inline"`
	Skipped  string `yaml:"-"`
}

type inner struct {
	Key   string `yaml:"key,required"`
	Value int    `yaml:"value"`
}

type common struct {
	Help string `yaml:"help"`
}

// variant is either a word or a mapping.
type variant struct {
	Hook     string   `yaml:"hook,required"`
	Requires []string `yaml:"requires"`
}

func (v *variant) UnmarshalNode(n *Node) error {
	if n.Kind() == Scalar {
		v.Hook = n.Text()
		if !strings.Contains(v.Hook, "/") {
			return errors.New("a hook has a slash")
		}
		return nil
	}
	type plain variant
	return n.Decode((*plain)(v))
}

func TestDecode_sets_every_kind_of_field(t *testing.T) {
	const text = `
name: listen
on_or_off: true
int: -5
int8: 127
port: 65535
big: 18446744073709551615
ratio: 99.9
small: 2
window: 30d
ports: [80, 0x1f90]
labels: {a: b, 1: c, true: d}
codes: {1: one, 2: two}
optional: 7
nested: {key: k, value: 1}
list:
  - {key: x}
  - key: "y"
    value: 2
pattern: ^a+$
free: {list: [1, 2.5, x, true, null], n: 2020-01-01}
variant: tp_btf/x
variants: [kprobe/a, {hook: b/c, requires: [d]}]
plain: tag
help: inlined
`
	var got everything
	if _, err := Decode("all.yaml", []byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Pattern == nil || got.Pattern.String() != "^a+$" {
		t.Errorf("pattern %v", got.Pattern)
	}
	got.Pattern = nil
	want := everything{
		Name: "listen", On: true, Int: -5, Int8: 127, Port: 65535, Big: math.MaxUint64, Ratio: 99.9, Small: 2,
		Window: 30 * 24 * time.Hour, Ports: []uint16{80, 8080},
		Labels: map[string]string{"a": "b", "1": "c", "true": "d"}, Codes: map[int]string{1: "one", 2: "two"},
		Optional: new(7), Nested: inner{"k", 1}, List: []inner{{"x", 0}, {"y", 2}},
		Free:     map[string]any{"list": []any{1, 2.5, "x", true, nil}, "n": "2020-01-01"},
		Variant:  variant{Hook: "tp_btf/x"},
		Variants: []variant{{Hook: "kprobe/a"}, {Hook: "b/c", Requires: []string{"d"}}},
		Plain:    "tag", common: common{Help: "inlined"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecode_leaves_what_is_absent_or_null_as_it_was(t *testing.T) {
	defaults := everything{Name: "default", Int: 4, Ports: []uint16{1}, Optional: new(3), Variant: variant{Hook: "a/b"}}
	for _, text := range []string{"", "# nothing\n", "---\n", "~", "{}", "name:\nint: ~\nports: null\noptional:\nvariant:\n"} {
		got := defaults
		if _, err := Decode("empty.yaml", []byte(text), &got); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if !reflect.DeepEqual(got, defaults) {
			t.Errorf("%q changed the defaults to %+v", text, got)
		}
	}
}

func TestDecode_replaces_the_default_of_a_list_or_map_that_is_given(t *testing.T) {
	got := everything{Ports: []uint16{1, 2}, Labels: map[string]string{"old": "1"}}
	if _, err := Decode("a.yaml", []byte("ports: []\nlabels: {new: x}"), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Ports) != 0 || !reflect.DeepEqual(got.Labels, map[string]string{"new": "x"}) {
		t.Errorf("ports %v labels %v", got.Ports, got.Labels)
	}
}

func TestDecode_refuses_with_place_and_reason(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"a typo", "nme: x", `f.yaml:1:1: unknown key "nme", did you mean "name"?`},
		{"two letters swapped", "raito: 1", `f.yaml:1:1: unknown key "raito", did you mean "ratio"?`},
		{"a typo in a nested list", "list:\n  - key: a\n  - kye: b\n    key: c",
			`f.yaml:3:5: unknown key "kye", did you mean "key"?`},
		{"a word that is near to nothing", "nested: {key: a, description: b}",
			`f.yaml:1:18: unknown key "description", must be one of "key", "value"`},
		{"a key twice", "name: a\nint: 1\nname: b", `f.yaml:3:1: duplicate key "name"`},
		{"a key twice in a map", "labels: {a: b, a: c}", `f.yaml:1:16: duplicate key "a"`},
		{"a key twice in a value of any type", "free: {a: {x: 1, x: 2}}", `f.yaml:1:18: duplicate key "x"`},
		{"a word for a number", "ratio: high", `f.yaml:1:8: "ratio" must be a number, got string "high"`},
		{"a quoted number for a number", `ratio: "5"`, `f.yaml:1:8: "ratio" must be a number, got string "5"`},
		{"a fraction for an integer", "int: 1.5", `f.yaml:1:6: "int" must be an integer, got number 1.5`},
		{"a number for a word", "name: 8080", `f.yaml:1:7: "name" must be a string (write "8080" in quotes), got number 8080`},
		{"a bool for a word", "name: true", `f.yaml:1:7: "name" must be a string (write "true" in quotes), got boolean true`},
		{"a word for a bool", "on_or_off: yes", `f.yaml:1:12: "on_or_off" must be true or false, got string "yes"`},
		{"a number for a bool", "on_or_off: 1", `f.yaml:1:12: "on_or_off" must be true or false, got number 1`},
		{"a mapping for a word", "name: {a: b}", `f.yaml:1:7: "name" must be a string, got a mapping`},
		{"a list for a mapping", "nested: [1]", `f.yaml:1:9: "nested" must be a mapping, got a list`},
		{"a word for a list", "ports: 80", `f.yaml:1:8: "ports" must be a list, got number 80`},
		{"a word for a map", "labels: x", `f.yaml:1:9: "labels" must be a mapping, got string "x"`},
		{"a list for the document", "- a", `f.yaml:1:1: the document must be a mapping, got a list`},
		{"an element of a list", "ports: [80, http]", `f.yaml:1:13: "ports[1]" must be an integer between 0 and 65535, got string "http"`},
		{"an empty element", "ports:\n  - 80\n  -", `f.yaml:3:4: "ports[1]" must not be empty`},
		{"an empty value of a map", "labels: {a: }", `f.yaml:1:13: "a" must not be empty`},
		{"a port too large", "port: 65536", `f.yaml:1:7: "port" must be an integer between 0 and 65535, got number 65536`},
		{"a negative port", "port: -1", `f.yaml:1:7: "port" must be an integer between 0 and 65535, got number -1`},
		{"a byte too large", "int8: 128", `f.yaml:1:7: "int8" must be an integer between -128 and 127, got number 128`},
		{"an integer too large", "int: 9223372036854775808", `f.yaml:1:6: "int" must be an integer that fits 64 bits with its sign, got number 9223372036854775808`},
		{"an unsigned integer too large", "big: 18446744073709551616", `f.yaml:1:6: "big" must be an integer that fits 64 bits, got number 18446744073709551616`},
		{"a negative unsigned integer", "big: -1", `f.yaml:1:6: "big" must be an integer, 0 or more, got number -1`},
		{"a float too large for 32 bits", "small: 1.0e+39", `f.yaml:1:8: "small" must be a number, got number 1.0e+39`},
		{"not a number", "ratio: .nan", `f.yaml:1:8: "ratio" must be a finite number, got number .nan`},
		{"infinity", "ratio: -.inf", `f.yaml:1:8: "ratio" must be a finite number, got number -.inf`},
		{"a number too large for a float", "ratio: 1e999", `f.yaml:1:8: "ratio" must be a number, got string "1e999"`},
		{"not a number in a value of any type", "free: [.nan]", `f.yaml:1:8: "free[0]" must be a finite number, got number .nan`},
		{"a duration without unit", "window: 30", `f.yaml:1:9: "window" must be a duration with a unit, such as 200ms or 30d, got number 30`},
		{"a duration with a wrong unit", "window: 30 days", `f.yaml:1:9: "window" must be a duration such as 200ms, 5m or 30d, got string "30 days"`},
		{"a list for a duration", "window: []", `f.yaml:1:9: "window" must be a duration such as 200ms, 5m or 30d, got a list`},
		{"a required key left out", "nested: {value: 1}", `f.yaml:1:9: missing required key "key"`},
		{"a required key without a value", "nested: {key: }", `f.yaml:1:9: missing required key "key"`},
		{"a required key of a type that decodes itself", "variant: {requires: []}", `f.yaml:1:10: missing required key "hook"`},
		{"an error of a type that decodes itself", "variants: [a/b, c]", `f.yaml:1:17: "variants[1]": a hook has a slash`},
		{"an error inside a type that decodes itself", "variant: {hok: a}",
			"f.yaml:1:10: missing required key \"hook\"\nf.yaml:1:11: unknown key \"hok\", did you mean \"hook\"?"},
		{"an error of a text type", "pattern: a(", "f.yaml:1:10: \"pattern\": error parsing regexp: missing closing ): `a(`"},
		{"a list for a text type", "pattern: [a]", `f.yaml:1:10: "pattern" must be a string, got a list`},
		{"a map key of the wrong type", "codes: {one: x}", `f.yaml:1:9: "one" must be an integer, got string "one"`},
		{"a key that is a list", "labels: {[a]: b}", `f.yaml:1:10: a key must be a word, got a list`},
		{"an empty key", "labels: {~: b}", `f.yaml:1:10: a key must not be empty`},
		{"a tag of another program", "name: !ruby/object x", `f.yaml:1:7: unsupported tag "!ruby/object"`},
		{"a tag that lies", "int: !!int x", `f.yaml:1:6: "x" cannot be read as number`},
		{"an unknown tag of a mapping's value", "free: !!binary aGk=", `f.yaml:1:7: unsupported tag "!!binary"`},
		{"two documents", "name: a\n---\nname: b", `f.yaml:2:1: a second document starts here, only one is allowed`},
		{"a long word is cut", "ratio: " + strings.Repeat("é", 100),
			`f.yaml:1:8: "ratio" must be a number, got string "` + strings.Repeat("é", 60) + `..."`},
		{"columns count characters", "labels: {é: b, é: c}", `f.yaml:1:16: duplicate key "é"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode("f.yaml", []byte(c.yaml), new(everything))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestDecode_places_syntax_errors_where_one_looks_for_them(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"a bracket that is never closed", "name: a\n\nports: [80,\n  81\nint: 1\n",
			`f.yaml:3:1: did not find expected ',' or ']'`},
		{"a tab", "name: a\nnested:\n\tkey: b\n", `f.yaml:3:1: found character that cannot start any token`},
		{"a quote that is never closed", "name: a\nlabels:\n  x: \"b\nint: 1\n", `f.yaml:3:3: found unexpected end of stream`},
		{"a key that is not under its sisters", "nested:\n    key: a\n  value: 1\n", `f.yaml:3:3: did not find expected key`},
		{"a colon too many", "int: 1\nname: a: b\n", `f.yaml:2:1: mapping values are not allowed in this context`},
		{"an anchor that is unknown", "int: 1\nname: *nobody\n", `f.yaml:2:1: unknown anchor 'nobody' referenced`},
		{"a byte that is no UTF-8", "int: 1\nname: \xff\n", `f.yaml:2:1: invalid leading UTF-8 octet`},
		{"a control character", "int: 1\nname: \x01\n", `f.yaml:2:1: control characters are not allowed`},
		{"an error in a second document", "int: 1\n---\nname: [\n", `f.yaml:3:1: did not find expected node content`},
		{"an error in the first line", "[", `f.yaml:1:1: did not find expected node content`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var into everything
			doc, err := Decode("f.yaml", []byte(c.yaml), &into)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if !reflect.DeepEqual(into, everything{}) {
				t.Errorf("a broken file was decoded in part: %+v", into)
			}
			if doc == nil || doc.Errorf("name", "x").Error() != "f.yaml:1:1: x" {
				t.Errorf("the document of a broken file places errors at %v", doc.Errorf("name", "x"))
			}
		})
	}
}

func TestDecode_tells_every_problem_once_in_the_order_of_the_file(t *testing.T) {
	const text = `nmae: a
shared: &bad {key: 1}
list:
  - *bad
  - *bad
  - {value: x}
ratio: high
`
	type file struct {
		everything `yaml:",inline"`
		Shared     any `yaml:"shared"`
	}
	_, err := Decode("f.yaml", []byte(text), new(file))
	want := `f.yaml:1:1: unknown key "nmae", did you mean "name"?
f.yaml:2:20: "key" must be a string (write "1" in quotes), got number 1
f.yaml:6:5: missing required key "key"
f.yaml:6:13: "value" must be an integer, got string "x"
f.yaml:7:8: "ratio" must be a number, got string "high"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var all Errors
	if !errors.As(err, &all) || len(all) != 5 {
		t.Errorf("the error is no list of 5: %#v", err)
	}
	var first *Error
	if !errors.As(err, &first) || first.Line != 1 || first.Column != 1 || first.File != "f.yaml" {
		t.Errorf("the first error is %#v", first)
	}
}

func TestDecode_keeps_what_is_right_beside_what_is_wrong(t *testing.T) {
	var got everything
	if _, err := Decode("f.yaml", []byte("name: a\nint: x\nport: 80"), &got); err == nil {
		t.Fatal("no error")
	}
	if got.Name != "a" || got.Port != 80 {
		t.Errorf("got %+v", got)
	}
}

func TestMerge_keys_add_what_a_mapping_does_not_say_itself(t *testing.T) {
	const text = `
free:
  base: &base {key: base, value: 1}
  other: &other {key: other, value: 2}
nested: {<<: *base, key: own}
list:
  - <<: [*other, *base]
`
	var got everything
	if _, err := Decode("f.yaml", []byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Nested != (inner{"own", 1}) || got.List[0] != (inner{"other", 2}) {
		t.Errorf("nested %+v list %+v", got.Nested, got.List)
	}
	_, err := Decode("f.yaml", []byte("nested: {key: a, <<: 5}"), &got)
	if want := `f.yaml:1:22: "<<" must be a mapping or a list of mappings, got number 5`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestDecode_bounds_what_a_small_file_expands_to(t *testing.T) {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		p := string(c - 1)
		laughs += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+p+", ", 10), ", ") + "]\n"
	}
	merges := "a: &a {k: v}\n"
	for c := 'b'; c <= 'z'; c++ {
		p := string(c - 1)
		merges += string(c) + ": &" + string(c) + " {<<: [*" + p + ", *" + p + "]}\n"
	}
	for _, c := range []struct{ name, yaml, want string }{
		{"aliases of aliases", laughs, "document expands to more than 200000 values"},
		{"merges of merges", merges, "document expands to more than 200000 values"},
		{"an alias to what it is in", "a: &a [*a]", "nested deeper than 100 levels"},
		{"a merge of what it is in", "a: &a {<<: *a}", "nested deeper than 100 levels"},
		{"a deep list", "a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested deeper than 100 levels"},
		{"a huge file", strings.Repeat("# padding\n", maxBytes/10+1), "file is larger than 4194304 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var into map[string]any
			started := time.Now()
			_, err := Decode("f.yaml", []byte(c.yaml), &into)
			var all Errors
			if !errors.As(err, &all) || len(all) != 1 || all[0].Message != c.want {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestParseDuration_reads_Go_and_Prometheus(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "200ms": 200 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "100us": 100 * time.Microsecond,
		"7µs": 7 * time.Microsecond, "3ns": 3, "30d": 30 * day, "1w": 7 * day, "1y": 365 * day,
		"1d12h": 36 * time.Hour, "1h30m5s": 5405 * time.Second, "0.5d": 12 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                         `"" is no duration such as 200ms, 5m or 30d`,
		"5":                        `"5" is no duration such as 200ms, 5m or 30d`,
		"-5s":                      `"-5s" is no duration such as 200ms, 5m or 30d`,
		"5 s":                      `"5 s" is no duration such as 200ms, 5m or 30d`,
		"s":                        `"s" is no duration such as 200ms, 5m or 30d`,
		".s":                       `".s" is no duration such as 200ms, 5m or 30d`,
		"1..5s":                    `"1..5s" is no duration such as 200ms, 5m or 30d`,
		"1month":                   `"1month" is no duration such as 200ms, 5m or 30d`,
		"300y":                     `duration "300y" is longer than 292 years`,
		"99999999999999999999999h": `duration "99999999999999999999999h" is longer than 292 years`,
	} {
		if got, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestParseDuration_agrees_with_Go_on_what_both_read(t *testing.T) {
	for _, text := range []string{"1h", "1h2m3s4ms5us6ns", "0.1s", "1.000000001s", "123456789ns", "2562047h"} {
		want, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestSuggest_names_the_nearest_word_or_all(t *testing.T) {
	valid := []string{"listen", "accept", "window"}
	for word, want := range map[string]string{
		"lisen":     `, did you mean "listen"?`,
		"Listen":    `, did you mean "listen"?`,
		"acecpt":    `, did you mean "accept"?`,
		"widnows":   `, did you mean "window"?`,
		"softirq":   `, must be one of "listen", "accept", "window"`,
		"":          `, must be one of "listen", "accept", "window"`,
		"x":         `, must be one of "listen", "accept", "window"`,
		"acceptxyz": `, did you mean "accept"?`,
	} {
		if got := Suggest(word, valid); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
	if got := Suggest("x", nil); got != "" {
		t.Errorf("with no valid words: %q", got)
	}
}
