// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"math"
	"strconv"
)

// Type is the type of a value.
type Type string

// The types of values; the words stand in messages and in the reference.
const (
	Bool   Type = "true or false"
	Number Type = "number"
	Text   Type = "text"
)

// Value is what an expression comes to. Where an input of it is missing it is
// unknown and says why; the zero Value is unknown, too.
type Value struct {
	known  bool
	yes    bool
	number float64
	text   string
	reason string
}

// Unknown is a value that could not be had, for the reason given.
func Unknown(reason string) Value { return Value{reason: reason} }

// NumberOf is a known number.
func NumberOf(n float64) Value { return Value{known: true, number: n} }

// TextOf is a known text.
func TextOf(text string) Value { return Value{known: true, text: text} }

// BoolOf is a known truth.
func BoolOf(yes bool) Value { return Value{known: true, yes: yes} }

// numberOr is a number, or unknown where there was an error in finding it.
func numberOr(n float64, err error) Value {
	if err != nil {
		return Unknown(err.Error())
	}
	return NumberOf(n)
}

// format writes a value of a type for people: whole numbers in full, others
// with four digits.
func (v Value) format(of Type) string {
	switch {
	case !v.known:
		return "(unknown)"
	case of == Bool:
		return strconv.FormatBool(v.yes)
	case of == Text:
		return v.text
	case v.number == math.Trunc(v.number) && math.Abs(v.number) < 1<<53:
		return strconv.FormatFloat(v.number, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v.number, 'g', 4, 64)
	}
}
