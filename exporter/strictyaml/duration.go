// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units are those of time.ParseDuration and of Prometheus; a day has 24 hours and
// a year 365 days, as in Prometheus.
var units = map[string]time.Duration{
	"ns": time.Nanosecond,
	"us": time.Microsecond,
	"µs": time.Microsecond,
	"ms": time.Millisecond,
	"s":  time.Second,
	"m":  time.Minute,
	"h":  time.Hour,
	"d":  24 * time.Hour,
	"w":  7 * 24 * time.Hour,
	"y":  365 * 24 * time.Hour,
}

// ParseDuration reads a duration as Go writes it ("200ms", "1.5s") or as
// Prometheus does ("30d", "1w", "1d12h"). It refuses negative durations and those
// beyond 292 years; zero needs no unit.
func ParseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	bad := fmt.Errorf("%q is no duration such as 200ms, 5m or 30d", text)
	if text == "" {
		return 0, bad
	}
	var total float64
	var exact time.Duration
	for rest := text; rest != ""; {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if digits <= 0 {
			return 0, bad
		}
		number, after := rest[:digits], rest[digits:]
		letters := strings.IndexFunc(after, func(r rune) bool { return r == '.' || (r >= '0' && r <= '9') })
		if letters < 0 {
			letters = len(after)
		}
		unit, known := units[after[:letters]]
		value, err := strconv.ParseFloat(number, 64)
		if !known || err != nil {
			return 0, bad
		}
		// Whole numbers must not pass through a float, which has no room for
		// every nanosecond of a year.
		if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
			exact += time.Duration(whole) * unit
		} else {
			exact += time.Duration(math.Round(value * float64(unit)))
		}
		total += value * float64(unit)
		if total >= math.MaxInt64 {
			return 0, fmt.Errorf("duration %q is longer than 292 years", text)
		}
		rest = after[letters:]
	}
	return exact, nil
}
