// SPDX-License-Identifier: Apache-2.0

package host

import "time"

// restAfterCount bounds what counting costs, however much there is to count: from
// the begin of one count to the next at least this many times what it took pass.
// So it takes 5 % of one CPU at most.
const restAfterCount = 20

// resting is what the last count found and when the next one may begin.
type resting struct {
	found  *Found
	err    error
	rested time.Time // no count before
}

// update counts, or returns what the last count found if that was dear.
func (r *resting) update(count func(now time.Time) (*Found, error)) (*Found, error) {
	if now := time.Now(); !now.Before(r.rested) {
		r.found, r.err = count(now)
		r.rested = now.Add(restAfterCount * time.Since(now))
	}
	return r.found, r.err
}
