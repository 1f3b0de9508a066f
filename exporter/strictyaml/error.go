// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one problem at one place of a file. Line and Column count from 1, the
// column in characters, as editors do.
type Error struct {
	File         string
	Line, Column int
	Message      string
}

// Error formats the problem as "file:line:column: message", which editors and
// continuous integration turn into a link.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors is every problem of one file, in the order of the file.
type Errors []*Error

// Error puts each problem on a line of its own.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, problem := range e {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As reach each *Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, problem := range e {
		all[i] = problem
	}
	return all
}

// sorted returns the problems in the order of the file, each once: a value that
// an alias uses twice is wrong in one place only.
func (e Errors) sorted() Errors {
	out := slices.Clone(e)
	slices.SortStableFunc(out, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(out, func(a, b *Error) bool { return *a == *b })
}

// orNil keeps an empty list from becoming a non-nil error.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e.sorted()
}
