// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"math"
	"time"
)

// A Tier is one pair of windows of the multiwindow, multi-burn-rate alerts of "The Site
// Reliability Workbook", chapter 5: it fires when Share of the budget burns within Long,
// and still does within Short, which makes it end soon after the burning does.
type Tier struct {
	Name  string // the label burn_tier
	Share float64
	Long  time.Duration
	Short time.Duration
}

// Tiers returns the tiers, fastest first. Short is a twelfth of Long in all of them.
func Tiers() []Tier {
	tier := func(name string, share float64, long time.Duration) Tier { return Tier{name, share, long, long / 12} }
	return []Tier{
		tier("fast", 0.02, time.Hour),
		tier("medium", 0.05, 6*time.Hour),
		tier("slow", 0.1, day),
		tier("trickle", 0.1, 3*day),
	}
}

// Factor is the burn rate at which Share of the budget of a period burns within Long:
// for 30 days 14.4, 6, 3 and 1.
func (t Tier) Factor(period time.Duration) float64 {
	return t.Share * period.Seconds() / t.Long.Seconds()
}

// BurnRate is how many times faster than allowed the budget burns: at 1 it is used up at
// the end of the window. errorRatio is between 0 and 1, allowed what Definition.Allowed
// returns.
func BurnRate(errorRatio, allowed float64) float64 { return errorRatio / allowed }

// BudgetRemaining is the share of the error budget that is left: 1 if nothing was bad, 0
// if as much was bad as may be, less than 0 if more was.
func BudgetRemaining(e Events, allowed float64) float64 { return 1 - BurnRate(e.ErrorRatio(), allowed) }

// Exhaustion forecasts in how many seconds the budget of a window will be used up if it
// burns on as fast: 0 if it is already. ok is false if it never will be.
func Exhaustion(remaining, burnRate float64, window time.Duration) (seconds float64, ok bool) {
	if remaining <= 0 {
		return 0, true
	}
	if seconds = remaining * window.Seconds() / burnRate; math.IsInf(seconds, 0) {
		return 0, false
	}
	return seconds, true
}

// State is how a pair of windows looks.
type State string

// The states. Increasing is what was good until lately, recovering what lately is again.
const (
	OK         State = "ok"
	Increasing State = "increasing"
	Critical   State = "critical"
	Recovering State = "recovering"
)

// StateOf compares the burn rates in the long and the short window of a tier with its
// factor.
func StateOf(long, short, factor float64) State {
	switch {
	case long > factor && short > factor:
		return Critical
	case long > factor:
		return Recovering
	case short > factor:
		return Increasing
	}
	return OK
}
