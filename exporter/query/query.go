// SPDX-License-Identifier: Apache-2.0

// Package query reads the queries of URLs strictly: what is wrong is told along with
// what is allowed.
package query

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Parameter is one of a query's, by the name that it has in a URL.
type Parameter[Q any] struct {
	Name    string
	Allowed string                            // what a value must be
	Set     func(query *Q, value string) bool // false refuses the value
}

// Parse reads the query of a URL into q, which holds the defaults. An empty value is as
// good as none. The error names what is wrong and what is allowed.
func Parse[Q any](raw string, q *Q, known []Parameter[Q]) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		given := values[name]
		i := slices.IndexFunc(known, func(p Parameter[Q]) bool { return p.Name == name })
		switch {
		case i < 0:
			names := make([]string, len(known))
			for i, p := range known {
				names[i] = p.Name
			}
			return fmt.Errorf("unknown parameter %q%s", name, strictyaml.Suggest(name, names))
		case len(given) > 1:
			return fmt.Errorf("parameter %q is given %d times, must be given once", name, len(given))
		case given[0] != "" && !known[i].Set(q, given[0]):
			return fmt.Errorf("parameter %q must be %s, got %q", name, known[i].Allowed, given[0])
		}
	}
	return nil
}

// Limit is the parameter that says how many results are wanted at most.
func Limit[Q any](of func(*Q) *int) Parameter[Q] {
	return Parameter[Q]{"limit", "a whole number, or 0 for all", func(q *Q, value string) bool {
		limit, err := strconv.Atoi(value)
		*of(q) = limit
		return err == nil && limit >= 0
	}}
}
