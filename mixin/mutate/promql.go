// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// token finds what PromQL is made of, as far as it is changed here. White space is what is between.
var token = regexp.MustCompile(`"[^"]*"|\d+(?:\.\d+)?(?:e-?\d+)?[smhdwy]?\b|[a-zA-Z_:][a-zA-Z0-9_:]*|[=!<>]=|[=!]~|[-+*/%^<>=(){}\[\],]`)

// alternatives are what an operator or a function may be mistaken for.
var alternatives = map[string][]string{
	">": {">=", "<"}, "<": {"<=", ">"}, ">=": {">", "<"}, "<=": {"<", ">"}, "==": {"!=", ">"}, "!=": {"=="},
	"=": {"!="}, "=~": {"!~"}, "!~": {"=~"},
	"+": {"-"}, "-": {"+"}, "*": {"/"}, "/": {"*"}, "%": {"*"}, "^": {"*"},
	"and": {"or", "unless"}, "or": {"and", "unless"}, "unless": {"and", "or"},
	"sum": {"max", "avg"}, "max": {"min", "sum"}, "min": {"max"}, "avg": {"max"}, "count": {"sum"}, "stddev": {"avg"}, "stdvar": {"avg"},
	"by": {"without"}, "on": {"ignoring"}, "ignoring": {"on"},
	"rate": {"increase", "irate"}, "increase": {"rate"}, "delta": {"increase"}, "deriv": {"rate"},
	"sum_over_time": {"avg_over_time", "max_over_time"}, "avg_over_time": {"max_over_time", "sum_over_time"},
	"count_over_time": {"sum_over_time"}, "max_over_time": {"min_over_time"}, "min_over_time": {"max_over_time"},
	"last_over_time": {"min_over_time"}, "changes": {"resets"},
	"clamp_min": {"clamp_max"}, "clamp_max": {"clamp_min"}, "sqrt": {"exp"}, "abs": {"-"},
	"histogram_quantile": {"histogram_fraction"},
}

// Words that a change would only make invalid, or that stand for a name of which the parts are changed.
var unchanged = []string{"group_left", "group_right", "offset", "bool", "label_replace", "label_join", "vector", "scalar", "time", "timestamp", "absent", "inf", "Inf", "NaN"}

// expression is a changed expression.
type expression struct {
	what, text string
	line       int
}

// expressions changes each token of an expression in each way.
func expressions(expr string) []expression {
	places := token.FindAllStringIndex(expr, -1)
	word := func(i int) string {
		if i < 0 || i >= len(places) {
			return ""
		}
		return expr[places[i][0]:places[i][1]]
	}
	var all []expression
	var within []string // what the parentheses and braces belong to
	for i := range places {
		from, to := places[i][0], places[i][1]
		replace := func(with string) {
			before, after := expr[max(0, from-24):from], expr[to:min(len(expr), to+24)]
			all = append(all, expression{
				what: strings.Join(strings.Fields(before+"["+expr[from:to]+" → "+with+"]"+after), " "),
				text: expr[:from] + with + expr[to:],
				line: strings.Count(expr[:from], "\n"),
			})
		}
		inside := ""
		if len(within) > 0 {
			inside = within[len(within)-1]
		}
		switch text := word(i); {
		case text == "(" || text == "{" || text == "[":
			if text != "(" {
				within = append(within, text)
			} else {
				within = append(within, word(i-1))
			}
		case text == ")" || text == "}" || text == "]":
			within = within[:len(within)-1]
		case text == ",":
		case slices.Contains([]string{"by", "without", "on", "ignoring", "group_left", "group_right"}, inside):
			// One label less: with its comma.
			if word(i+1) == "," {
				to = places[i+1][1]
			} else if word(i-1) == "," {
				from = places[i-1][0]
			}
			replace("")
		case text[0] == '"':
			replace(text[:len(text)-1] + `_mutant"`)
		case text[0] >= '0' && text[0] <= '9':
			for _, other := range numbers(text) {
				replace(other)
			}
		case slices.Contains(unchanged, text):
		case alternatives[text] != nil:
			for _, other := range alternatives[text] {
				replace(other)
			}
		default: // a metric, or a label in a matcher
			replace(text + "_mutant")
		}
	}
	return all
}

// numbers are a tenth more and less than a number, and durations as durations does it.
func numbers(text string) []string {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return durations(text)
	}
	if value == 0 {
		return []string{"1"}
	}
	format := func(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }
	return []string{format(value * 1.1), format(value * 0.9)}
}

// durations are twice a duration of one unit, and half of it.
func durations(text string) []string {
	value, err := strconv.Atoi(text[:len(text)-1])
	if err != nil {
		return nil
	}
	unit := text[len(text)-1:]
	double := strconv.Itoa(2*value) + unit
	smaller := map[string]string{"m": "s", "h": "m", "d": "h"}
	if factor := map[string]int{"m": 30, "h": 30, "d": 12}[unit]; factor > 0 {
		return []string{double, strconv.Itoa(factor*value) + smaller[unit]}
	}
	return []string{double}
}
