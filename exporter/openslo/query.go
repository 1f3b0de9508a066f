// SPDX-License-Identifier: Apache-2.0

package openslo

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/slo"
)

// counted is what an indicator counts, as far as its queries say it in a way that has
// one meaning only.
type counted struct {
	latency      time.Duration
	path, method string
	ignored      []string // labels that say nothing of requests
}

// matcher is one of a PromQL selector.
type matcher struct{ label, operator, value string }

var (
	matcherSyntax = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_.]*)\s*(=~|!~|!=|=)\s*(?:"([^"]*)"|'([^']*)')`)
	unitSyntax    = regexp.MustCompile(`_(seconds|milliseconds|ms|microseconds|us)(?:_bucket|_sum|_count)?\b`)

	statusLabels = []string{"code", "status", "status_code", "http_status", "http_status_code", "http_response_status_code", "response_code"}
	pathLabels   = []string{"path", "route", "handler", "endpoint", "uri", "http_route"}

	units = map[string]time.Duration{
		"seconds": time.Second, "milliseconds": time.Millisecond, "ms": time.Millisecond, "microseconds": time.Microsecond, "us": time.Microsecond,
	}
)

func matchersIn(query string) []matcher {
	var all []matcher
	for _, m := range matcherSyntax.FindAllStringSubmatch(query, -1) {
		all = append(all, matcher{m[1], m[2], m[3] + m[4]})
	}
	return all
}

// unitOf is the unit that the names of a query's metrics end in.
func unitOf(query string) (time.Duration, error) {
	var unit time.Duration
	for _, m := range unitSyntax.FindAllStringSubmatch(query, -1) {
		if unit != 0 && unit != units[m[1]] {
			return 0, fmt.Errorf("its query has metrics in several units")
		}
		unit = units[m[1]]
	}
	if unit == 0 {
		return 0, fmt.Errorf("no metric of its query ends in a unit such as _seconds")
	}
	return unit, nil
}

// duration gives a number a unit.
func duration(value float64, unit time.Duration) (time.Duration, error) {
	d := time.Duration(math.Round(value * float64(unit)))
	if problems := (slo.Definition{Objective: 50, Window: slo.DefaultWindow, Latency: d}).Validate(); d <= 0 || problems != nil {
		return 0, fmt.Errorf("a latency must be between 1us and 1h, got %v times %v", value, unit)
	}
	return d, nil
}

// narrow reads what requests a query is about. What else it says goes to rest.
func (c *counted) narrow(query string) (rest []matcher, err error) {
	for _, m := range matchersIn(query) {
		switch {
		case m.label == "le" || slices.Contains(statusLabels, m.label):
			rest = append(rest, m)
		case m.label == "method":
			method := strings.ToUpper(m.value)
			if m.operator != "=" || !slices.Contains(slo.Methods, method) || c.method != "" && c.method != method {
				return nil, fmt.Errorf("its query is about requests with method%s%q, and an SLO is about one method or all", m.operator, m.value)
			}
			c.method = method
		case slices.Contains(pathLabels, m.label):
			if m.operator != "=" || !strings.HasPrefix(m.value, "/") || c.path != "" && c.path != m.value {
				return nil, fmt.Errorf("its query is about requests with %s%s%q, and an SLO is about one route or all", m.label, m.operator, m.value)
			}
			c.path = m.value
		case !slices.Contains(c.ignored, m.label):
			c.ignored = append(c.ignored, m.label)
		}
	}
	return rest, nil
}

// ofRatio reads the queries of a ratio: errors among requests by their status, or quick
// ones by the boundary of a histogram.
func ofRatio(numerator, total string, good bool) (counted, error) {
	var c, all counted
	rest, err := c.narrow(numerator)
	if err != nil {
		return c, err
	}
	excluded, err := all.narrow(total)
	if err != nil {
		return c, err
	}
	if c.path != all.path || c.method != all.method {
		return c, fmt.Errorf("the queries of its ratio are about different requests")
	}
	if i := slices.IndexFunc(rest, func(m matcher) bool { return m.label == "le" }); i >= 0 {
		return c, c.ofBucket(numerator, rest, rest[i], good)
	}
	if len(rest) != 1 || len(excluded) > 0 || !isServerError(rest[0], good) {
		return c, fmt.Errorf("its queries do not say that 5xx are bad and all else is good")
	}
	return c, nil
}

// ofBucket reads how quick a request has to be.
func (c *counted) ofBucket(query string, rest []matcher, le matcher, good bool) error {
	if !good || le.operator != "=" {
		return fmt.Errorf("its query does not say which requests were quick")
	}
	for _, m := range rest {
		if m != le && !isServerError(m, true) {
			return fmt.Errorf("its query leaves out others than 5xx by %s%s%q", m.label, m.operator, m.value)
		}
	}
	bound, err := strconv.ParseFloat(le.value, 64)
	if err != nil {
		return fmt.Errorf("its query has le=%q, which is no number", le.value)
	}
	unit, err := unitOf(query)
	if err != nil {
		return err
	}
	c.latency, err = duration(bound, unit)
	return err
}

// isServerError tells whether a matcher takes 5xx for bad and nothing else, in a query
// of what is good or of what is bad.
func isServerError(m matcher, good bool) bool {
	classes := map[byte]bool{}
	for _, alternative := range strings.Split(strings.Trim(m.value, "^$()"), "|") {
		if !classSyntax.MatchString(alternative) {
			return false
		}
		classes[alternative[0]] = true
	}
	positive := m.operator == "=" || m.operator == "=~"
	if positive && good {
		return classes['2'] && classes['3'] && classes['4'] && !classes['5']
	}
	return positive != good && len(classes) == 1 && classes['5']
}

// classSyntax is a whole class of statuses: 5.., 5xx, 5.*, 5[0-9]{2}, 5\d\d.
var classSyntax = regexp.MustCompile(`^[1-5](\.\.|xx|XX|\.\*|\.\+|(\[0-9\]|\\?\\d)\{2\}|(\[0-9\]|\\?\\d){2})$`)
