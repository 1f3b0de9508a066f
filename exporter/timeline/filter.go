// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/query"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Filter tells which requests are wanted; the zero value, all.
type Filter struct {
	Service string
	Path    string
	Method  string // in any case
	// Status is that of Request.Status, or a class of them such as "5xx".
	Status string
	// SlowerThan is what a request took longer than.
	SlowerThan time.Duration
	// Slow is whether a request was over the threshold of its service, or is one of
	// the sample of the others.
	Slow *bool
}

// Query asks a store for requests; the zero value, for all, the slowest first.
type Query struct {
	Filter
	// MaxAge is how long ago a request ended at most; 0 for any time.
	MaxAge time.Duration
	// Limit is how many requests are wanted at most; 0 for all.
	Limit int
	Order Order
}

// Order is which request comes first.
type Order string

// Orders that a query can ask for.
const (
	Slowest Order = "slowest"
	Newest  Order = "newest"
)

// DefaultLimit is how many requests a query without a limit gets.
const DefaultLimit = 100

// matches tells whether the filter lets a request through.
func (f *Filter) matches(r *Request) bool {
	return (f.Service == "" || f.Service == r.Service) &&
		(f.Path == "" || f.Path == r.Path) &&
		(f.Method == "" || strings.EqualFold(f.Method, r.Method)) &&
		(f.Status == "" || f.Status == r.Status || isClass(f.Status) && len(r.Status) == 3 && f.Status[0] == r.Status[0]) &&
		(f.SlowerThan == 0 || r.Duration > f.SlowerThan) &&
		(f.Slow == nil || *f.Slow == r.Slow)
}

type parameter = query.Parameter[Query]

// filterParameters are what a stream can be asked for, and a list too.
var filterParameters = []parameter{
	{Name: "service", Allowed: "a name", Set: func(q *Query, value string) bool { q.Service = value; return true }},
	{Name: "path", Allowed: "a route", Set: func(q *Query, value string) bool { q.Path = value; return true }},
	{Name: "method", Allowed: "a method", Set: func(q *Query, value string) bool { q.Method = value; return true }},
	{Name: "status_code", Allowed: `a status such as 503, a class such as 5xx, "panic" or "hijacked"`, Set: func(q *Query, value string) bool {
		q.Status = value
		return value == "panic" || value == "hijacked" || isStatus(value) || isClass(value)
	}},
	{Name: "slower_than", Allowed: "a duration with a unit, such as 200ms or 1.5s", Set: func(q *Query, value string) bool { return setDuration(&q.SlowerThan, value) }},
	{Name: "slow", Allowed: "true or false", Set: func(q *Query, value string) bool {
		slow := value == "true"
		q.Slow = &slow
		return slow || value == "false"
	}},
}

// listParameters are those of a list alone.
var listParameters = []parameter{
	{Name: "max_age", Allowed: "a duration with a unit, such as 90s or 10m", Set: func(q *Query, value string) bool { return setDuration(&q.MaxAge, value) }},
	query.Limit(func(q *Query) *int { return &q.Limit }),
	{Name: "order", Allowed: `"slowest" or "newest"`, Set: func(q *Query, value string) bool {
		q.Order = Order(value)
		return q.Order == Slowest || q.Order == Newest
	}},
}

// ParseQuery reads the query of a URL that asks for a list of requests. An empty value
// is as good as none. The error names what is wrong and what is allowed.
func ParseQuery(raw string) (Query, error) {
	return parse(raw, slices.Concat(filterParameters, listParameters))
}

// ParseFilter reads the query of a URL that asks for a stream of requests, as
// ParseQuery does.
func ParseFilter(raw string) (Filter, error) {
	q, err := parse(raw, filterParameters)
	return q.Filter, err
}

func parse(raw string, known []parameter) (Query, error) {
	q := Query{Limit: DefaultLimit, Order: Slowest}
	return q, query.Parse(raw, &q, known)
}

// setDuration takes what tcpslo.yml does: Go's durations, and days.
func setDuration(to *time.Duration, value string) bool {
	d, err := strictyaml.ParseDuration(value)
	*to = d
	return err == nil
}

// isStatus takes what net/http's WriteHeader does: 100 to 999.
func isStatus(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && len(text) == 3 && n >= 100
}

func isClass(text string) bool {
	return len(text) == 3 && text[0] >= '1' && text[0] <= '9' && text[1:] == "xx"
}
