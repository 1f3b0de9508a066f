// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"reflect"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

type bucketsFile struct {
	Buckets Buckets `yaml:"buckets"`
}

func TestBuckets_read_from_a_file(t *testing.T) {
	for _, c := range []struct {
		yaml string
		want []float64
	}{
		{"buckets: {exponential: {start: 1, factor: 2, count: 4}}", []float64{1, 2, 4, 8}},
		{"buckets: {linear: {start: 0.5, width: 0.25, count: 3}}", []float64{0.5, 0.75, 1}},
		{"buckets: {list: [0.1, 2, 30]}", []float64{0.1, 2, 30}},
	} {
		var file bucketsFile
		if _, err := strictyaml.Decode("probe.yaml", []byte(c.yaml), &file); err != nil {
			t.Errorf("%s: %v", c.yaml, err)
			continue
		}
		got, err := file.Buckets.Boundaries()
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.yaml, got, err, c.want)
		}
	}
}

func TestNative_schema_is_a_number_or_none_or_left_to_the_caller(t *testing.T) {
	for text, want := range map[string]*Schema{
		"buckets: {list: [1]}":                      nil,
		"buckets: {list: [1], native_schema: null}": nil,
		"buckets: {list: [1], native_schema: -4}":   new(Schema(-4)),
		"buckets: {list: [1], native_schema: 8}":    new(Schema(8)),
		"buckets: {list: [1], native_schema: none}": new(SchemaNone),
	} {
		var file bucketsFile
		if _, err := strictyaml.Decode("probe.yaml", []byte(text), &file); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := file.Buckets.NativeSchema; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if SchemaNone.Native() || !Schema(0).Native() {
		t.Error("SchemaNone is native, or 0 is not")
	}
}

func TestBuckets_are_refused_with_their_place(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"none of the three", "buckets: {}",
			`probe.yaml:1:10: "buckets": give exactly one of exponential, linear and list, got 0`},
		{"two of the three", "buckets: {list: [1], linear: {start: 1, width: 1, count: 1}}",
			`probe.yaml:1:10: "buckets": give exactly one of exponential, linear and list, got 2`},
		{"a start of zero", "buckets: {exponential: {start: 0, factor: 2, count: 4}}",
			`probe.yaml:1:32: "buckets": start must be more than 0, got 0`},
		{"a factor that doesn't grow", "buckets: {exponential: {start: 1, factor: 1, count: 4}}",
			`probe.yaml:1:43: "buckets": factor must be more than 1, got 1`},
		{"no boundary", "buckets: {exponential: {start: 1, factor: 2, count: 0}}",
			`probe.yaml:1:53: "buckets": count must be between 1 and 200, got 0`},
		{"too many boundaries", "buckets: {linear: {start: 1, width: 2, count: 201}}",
			`probe.yaml:1:47: "buckets": count must be between 1 and 200, got 201`},
		{"a negative start", "buckets: {linear: {start: -1, width: 2, count: 2}}",
			`probe.yaml:1:27: "buckets": start must be more than 0, got -1`},
		{"a width of zero", "buckets: {linear: {start: 1, width: 0, count: 2}}",
			`probe.yaml:1:37: "buckets": width must be more than 0, got 0`},
		{"a width lost in rounding", "buckets: {linear: {start: 1.0e+20, width: 1, count: 2}}",
			`probe.yaml:1:19: "buckets": boundaries must increase, got 1e+20 after 1e+20`},
		{"powers beyond the largest float", "buckets: {exponential: {start: 1, factor: 1000, count: 200}}",
			`probe.yaml:1:24: "buckets": boundaries must be finite`},
		{"an empty list", "buckets: {list: []}",
			`probe.yaml:1:17: "buckets": list must have between 1 and 200 boundaries, got 0`},
		{"a list that falls", "buckets:\n  list:\n    - 1\n    - 3\n    - 2",
			`probe.yaml:5:7: "buckets": boundaries must increase, got 2 after 3`},
		{"a list with zero", "buckets: {list: [0, 1]}",
			`probe.yaml:1:18: "buckets": boundaries must be more than 0, got 0`},
		{"infinity", "buckets: {list: [1, .inf]}",
			`probe.yaml:1:21: "list[1]" must be a finite number, got number .inf`},
		{"a schema out of range", "buckets: {list: [1], native_schema: 9}",
			`probe.yaml:1:37: "native_schema" must be an integer between -4 and 8, or none`},
		{"a schema that is a word", "buckets: {list: [1], native_schema: fine}",
			`probe.yaml:1:37: "native_schema" must be an integer between -4 and 8, or none`},
		{"a typo", "buckets: {exponental: {start: 1}}",
			`probe.yaml:1:11: unknown key "exponental", did you mean "exponential"?`},
		{"a key left out", "buckets: {exponential: {start: 1, count: 2}}",
			`probe.yaml:1:24: missing required key "factor"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := strictyaml.Decode("probe.yaml", []byte(c.yaml), new(bucketsFile))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestBoundaries_refuse_a_schema_set_in_code(t *testing.T) {
	_, err := Buckets{List: []float64{1}, NativeSchema: new(Schema(9))}.Boundaries()
	if err == nil || err.Error() != "native_schema must be between -4 and 8, got 9" {
		t.Errorf("got %v", err)
	}
}
