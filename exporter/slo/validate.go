// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tcpslo/tcpslo/exporter/route"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Problem is something that is wrong with a definition.
type Problem struct {
	Key     string // objective, window, latency, path or method
	Message string
}

// Methods are the methods that requests are told apart by; others are "other".
var Methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

const (
	day            = 24 * time.Hour
	shortestWindow = time.Hour
	longestWindow  = 366 * day
	shortestLimit  = time.Microsecond // the kernel's buckets begin there
	longestLimit   = time.Hour        // and they end soon after that
)

// Validate lists what is wrong with a definition by itself. Its name is left to who
// knows the others.
func (d Definition) Validate() []Problem {
	var all []Problem
	report := func(key, format string, args ...any) {
		all = append(all, Problem{key, fmt.Sprintf(format, args...)})
	}
	switch {
	case !(d.Objective > 0 && d.Objective < 100):
		report("objective", `"objective" must be a percentage above 0 and below 100, got %v`, d.Objective)
	case d.Ratio() == 0 || d.Allowed() == 0:
		report("objective", `"objective" must not be nearer to 0 or 100 than a trillionth, got %v`, d.Objective)
	}
	if d.Window < shortestWindow || d.Window > longestWindow {
		report("window", `"window" must be between 1h and 366d, got %s`, d.Window)
	}
	if d.Latency != 0 && (d.Latency < shortestLimit || d.Latency > longestLimit) {
		report("latency", `"latency" must be between 1us and 1h, got %s`, d.Latency)
	}
	if d.Path != "" {
		if method, path := route.Split(d.Path); method != "" {
			report("path", `"path" must be a route without method, got %q; write path: %s and method: %s`, d.Path, path, method)
		} else if _, err := route.Compile([]string{d.Path}); err != nil {
			report("path", "%s", err)
		}
	}
	if d.Method != "" && !slices.Contains(Methods, d.Method) {
		report("method", "unknown method %q%s", d.Method, strictyaml.Suggest(d.Method, Methods))
	}
	return all
}

// Doubts lists what is allowed but hardly meant.
func (d Definition) Doubts() []Problem {
	var all []Problem
	report := func(key, format string, args ...any) {
		all = append(all, Problem{key, fmt.Sprintf(format, args...)})
	}
	tiers := Tiers()
	if longest := tiers[len(tiers)-1]; d.Window < longest.Long {
		report("window", "a window of %v is shorter than the %v that the slowest alert looks back, which tells little of it", days(d.Window), days(longest.Long))
	}
	if first := tiers[0]; first.Factor(d.Window)*d.Allowed() >= 1 {
		report("objective", "the alert of tier %q can never fire: with an objective of %v over %v it waits for more bad events than there are events", first.Name, d.Objective, days(d.Window))
	}
	// At a thousand requests a second all the time there are 2.6e9 in 30 days.
	const busy = 1000 // per second
	if expected := busy * d.Window.Seconds() * d.Allowed(); expected < 1 {
		report("objective", "an objective of %v allows no bad event in %v even at %d requests per second", d.Objective, days(d.Window), busy)
	}
	return all
}

// days writes a duration in days if it is some.
func days(d time.Duration) string {
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
