// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"unicode/utf8"
)

var digits = regexp.MustCompile(`^[0-9]+$`)

// value returns a scalar as bool, int, int64, uint64, float64 or string. It
// refuses tags of other types and numbers that are none.
func (d *decoder) value(n *Node) (any, bool) {
	y, _ := resolve(n.yaml)
	tag := y.ShortTag()
	switch tag {
	case "!!str", "!!timestamp", "!!merge":
		// YAML 1.2 has no timestamps; a date is text here.
		return y.Value, true
	case "!!bool", "!!int", "!!float":
	default:
		d.errorf(n, "unsupported tag %q", tag)
		return nil, false
	}
	var v any
	if err := y.Decode(&v); err != nil {
		d.errorf(n, "%q cannot be read as %s", y.Value, describeTag(tag))
		return nil, false
	}
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		d.wrongType(n, "a finite number")
		return nil, false
	}
	return v, true
}

// scalar sets a bool, number, string or duration.
func (d *decoder) scalar(n *Node, v reflect.Value) {
	must := mustBe(v)
	if n.Kind() != Scalar {
		d.wrongType(n, must)
		return
	}
	value, ok := d.value(n)
	if !ok {
		return
	}
	if v.Type() == durationType {
		d.duration(n, value, v)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if s, ok := value.(string); ok {
			v.SetString(s)
			return
		}
		d.wrongType(n, fmt.Sprintf("a string (write %q in quotes)", n.Text()))
		return
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			v.SetBool(b)
			return
		}
	case reflect.Float32, reflect.Float64:
		if f, ok := asFloat(value); ok && !v.OverflowFloat(f) {
			v.SetFloat(f)
			return
		}
	default:
		if setInteger(value, v) {
			return
		}
		if v.Type().Bits() == 64 && digits.MatchString(n.Text()) {
			must = "an integer that fits 64 bits"
			if v.CanInt() {
				must += " with its sign"
			}
		}
	}
	d.wrongType(n, must)
}

func (d *decoder) duration(n *Node, value any, v reflect.Value) {
	text, isText := value.(string)
	if !isText && n.Text() != "0" {
		d.wrongType(n, `a duration with a unit, such as 200ms or 30d`)
		return
	}
	if !isText {
		text = "0"
	}
	duration, err := ParseDuration(text)
	if err != nil {
		d.wrongType(n, "a duration such as 200ms, 5m or 30d")
		return
	}
	v.SetInt(int64(duration))
}

// setInteger sets an integer of any size, or tells that value is none or doesn't
// fit.
func setInteger(value any, v reflect.Value) bool {
	switch i := value.(type) {
	case int:
		value = int64(i)
	case uint64:
		if v.CanUint() && !v.OverflowUint(i) {
			v.SetUint(i)
			return true
		}
		return false
	}
	i, ok := value.(int64)
	switch {
	case !ok:
		return false
	case v.CanInt() && !v.OverflowInt(i):
		v.SetInt(i)
		return true
	case v.CanUint() && i >= 0 && !v.OverflowUint(uint64(i)):
		v.SetUint(uint64(i))
		return true
	default:
		return false
	}
}

func asFloat(value any) (float64, bool) {
	switch f := value.(type) {
	case int:
		return float64(f), true
	case int64:
		return float64(f), true
	case uint64:
		return float64(f), true
	case float64:
		return f, true
	default:
		return 0, false
	}
}

// mustBe says what a scalar of this type has to be. Integers of less than 64 bits
// name their range: that is where one overflows.
func mustBe(v reflect.Value) string {
	if v.Type() == durationType {
		return "a duration such as 200ms, 5m or 30d"
	}
	switch v.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		limit := int64(1) << (v.Type().Bits() - 1)
		return fmt.Sprintf("an integer between %d and %d", -limit, limit-1)
	case reflect.Uint, reflect.Uint64:
		return "an integer, 0 or more"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("an integer between 0 and %d", uint64(1)<<v.Type().Bits()-1)
	default:
		panic(fmt.Sprintf("strictyaml: cannot decode into %s", v.Type()))
	}
}

// describe says what a value is, for "got ...".
func describe(n *Node) string {
	switch n.Kind() {
	case Null:
		return "nothing"
	case Mapping:
		return "a mapping"
	case List:
		return "a list"
	}
	y, _ := resolve(n.yaml)
	tag := describeTag(y.ShortTag())
	if tag == "string" {
		return fmt.Sprintf("string %q", shorten(y.Value))
	}
	return tag + " " + shorten(y.Value)
}

func describeTag(tag string) string {
	switch tag {
	case "!!bool":
		return "boolean"
	case "!!int", "!!float":
		return "number"
	default:
		return "string"
	}
}

// shorten keeps a message on one line.
func shorten(s string) string {
	const longest = 60
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "..."
}
