// SPDX-License-Identifier: Apache-2.0

package names

// What the recording rules in rules/tcpslo_rules.yaml call what they record. The part before the first
// colon says what a series stands for: an SLO (labels service and slo), a path of an SLO (path too), a
// verdict on a path (verdict too). Of those whose docstring says "by window", the name ends in one
// of RecordedWindows.
const (
	// RecordedObjective is the objective, between 0 and 1; the strictest, where hosts disagree.
	RecordedObjective = "slo:tcpslo_slo_objective_ratio:max"
	// RecordedWindow is how far back the objective looks, in seconds.
	RecordedWindow = "slo:tcpslo_slo_window_seconds:max"
	// RecordedErrorBudget is the share of events that may be bad, between 0 and 1.
	RecordedErrorBudget = "slo:tcpslo_slo_error_budget:ratio"
	// RecordedBurnThreshold is the burn rate above which a tier of the alerts fires. It has the
	// labels burn_tier, long and short (the two windows of the tier) too.
	RecordedBurnThreshold = "slo:tcpslo_slo_burn_threshold:factor"

	// RecordedPathEvents is events a second in the last five minutes, by path and verdict.
	RecordedPathEvents = "slo_path_verdict:tcpslo_slo_events:rate5m"
	// RecordedEvents is events a second, by window.
	RecordedEvents = "slo:tcpslo_slo_events:rate"
	// RecordedBadEvents is bad events a second, by window; 0 where there are none.
	RecordedBadEvents = "slo:tcpslo_slo_bad_events:rate"
	// RecordedErrorRatio is the share of the events that were bad, between 0 and 1, by window; 0 where
	// there were no events.
	RecordedErrorRatio = "slo:tcpslo_slo_error:ratio_rate"
	// RecordedBurnRate is how many times faster than allowed the budget burns, by window; 1 uses
	// it up in exactly the window of the SLO.
	RecordedBurnRate = "slo:tcpslo_slo_burn:ratio_rate"
	// RecordedBurnLowerBound is the smallest burn rate that explains what was seen (Wilson's lower bound of
	// the error ratio), by window, for RecordedLongWindows only.
	RecordedBurnLowerBound = "slo:tcpslo_slo_burn_lower_bound:ratio_rate"

	// RecordedIncrease is how many events there were since the value before: those of any time add up
	// to how many there were.
	RecordedIncrease = "slo:tcpslo_slo_events:increase4m"
	// RecordedBadIncrease is the same of bad events.
	RecordedBadIncrease = "slo:tcpslo_slo_bad_events:increase4m"
	// RecordedPathBadIncrease is the same by path, of the paths that had bad events.
	RecordedPathBadIncrease = "slo_path:tcpslo_slo_bad_events:increase4m"

	// RecordedWindowEvents is how many events there were in the window of the SLO. It has, as all that
	// follow, the label window.
	RecordedWindowEvents = "slo:tcpslo_slo_events:increase_window"
	// RecordedWindowBadEvents is how many of them were bad.
	RecordedWindowBadEvents = "slo:tcpslo_slo_bad_events:increase_window"
	// RecordedWindowObserved is the share of the window of which events are known: below 1 in its first days.
	RecordedWindowObserved = "slo:tcpslo_slo_window_observed:ratio"
	// RecordedWindowErrorRatio is the share of the events that were bad in the window of the SLO.
	RecordedWindowErrorRatio = "slo:tcpslo_slo_error:ratio_window"
	// RecordedBudgetRemaining is the share of the error budget that is left: 1 if nothing was bad, 0 if as
	// much was bad as may be, less than 0 if more was.
	RecordedBudgetRemaining = "slo:tcpslo_slo_error_budget_remaining:ratio"
	// RecordedBudgetExhaustion is how many seconds the rest of the budget lasts if bad events come as
	// in the last six hours; absent if there were none in them, 0 if it is used up.
	RecordedBudgetExhaustion = "slo:tcpslo_slo_error_budget_exhaustion:seconds"
)

// RecordedWindows are the windows that rates and ratios are recorded for, RecordedLongWindows those of
// them that are the long one of a tier, RecordedSLOWindows those that SLOs may have.
var (
	RecordedWindows     = []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"}
	RecordedLongWindows = []string{"1h", "6h", "1d", "3d"}
	RecordedSLOWindows  = []string{"7d", "14d", "28d", "30d"}
)
