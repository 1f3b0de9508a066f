// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"strconv"
	"strings"
)

// Suggest returns what to append to a message that refuses word: the nearest
// valid word (`, did you mean "collectors"?`), or, when none is near, all of them
// in the order given (`, must be one of "a", "b"`). With no valid words it returns
// the empty string.
func Suggest(word string, valid []string) string {
	if len(valid) == 0 {
		return ""
	}
	// A third of the letters may be wrong; more than that and the guess
	// confuses rather than helps.
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, candidate := range valid {
		if d := distance(strings.ToLower(word), strings.ToLower(candidate)); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	if best != "" {
		return ", did you mean " + strconv.Quote(best) + "?"
	}
	quoted := make([]string, len(valid))
	for i, v := range valid {
		quoted[i] = strconv.Quote(v)
	}
	return ", must be one of " + strings.Join(quoted, ", ")
}

// distance is the optimal string alignment distance: the number of letters to
// insert, delete, replace or swap with their neighbour.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	// Words that differ this much in length are never near, and comparing a
	// megabyte with each key would take quadratic time.
	if diff := len(x) - len(y); diff > 20 || diff < -20 {
		return max(diff, -diff)
	}
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
