// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRatio_and_Allowed_are_the_nearest_floats(t *testing.T) {
	for objective, want := range map[float64][2]float64{
		99.9: {0.999, 0.001}, 99: {0.99, 0.01}, 99.99: {0.9999, 0.0001}, 99.999: {0.99999, 0.00001},
		50: {0.5, 0.5}, 33.3: {0.333, 0.667}, 99.95: {0.9995, 0.0005},
	} {
		d := Definition{Objective: objective}
		if got := [2]float64{d.Ratio(), d.Allowed()}; got != want {
			t.Errorf("%v %%: %v, want %v", objective, got, want)
		}
	}
}

func TestJudge_tells_what_each_outcome_is_to_each_kind_of_objective(t *testing.T) {
	availability, latency := Definition{}, Definition{Latency: time.Second}
	for _, c := range []struct {
		status                   string
		available, quick, slowly Verdict
	}{
		{"200", Good, Good, Bad},
		{"204", Good, Good, Bad},
		{"301", Good, Good, Bad},
		{"404", Good, Good, Bad},
		{"429", Good, Good, Bad},
		{"499", Good, Good, Bad},
		{"500", Bad, Bad, Bad},
		{"503", Bad, Bad, Bad},
		{"599", Bad, Bad, Bad},
		{"600", Good, Good, Bad},
		{"panic", Bad, Bad, Bad},
		{"hijacked", Good, NoEvent, NoEvent},
	} {
		for _, within := range []bool{true, false} {
			if got := availability.Judge(Request{Status: c.status, Within: within}); got != c.available {
				t.Errorf("availability: %s is %v, want %v", c.status, got, c.available)
			}
		}
		if quick, slowly := latency.Judge(Request{Status: c.status, Within: true}), latency.Judge(Request{Status: c.status}); quick != c.quick || slowly != c.slowly {
			t.Errorf("latency: %s is %v and, slowly, %v, want %v and %v", c.status, quick, slowly, c.quick, c.slowly)
		}
	}
}

// Nobody has answered who has gone, so what the server would have said tells nothing.
func TestJudge_goes_by_the_policy_where_the_client_has_gone(t *testing.T) {
	for policy, want := range map[AbortPolicy]Verdict{AbortsGood: Good, AbortsBad: Bad, IgnoreAborts: NoEvent} {
		for _, latency := range []time.Duration{0, time.Second} {
			d, without := Definition{Latency: latency, ClientAborts: policy}, Definition{Latency: latency}
			for _, status := range []string{"200", "404", "499", "503", Panic, Hijacked} {
				for _, within := range []bool{true, false} {
					aborted, stayed := Request{status, true, within}, Request{status, false, within}
					if got := d.Judge(aborted); got != want {
						t.Errorf("%s, latency %v: %+v is %v, want %v", policy, latency, aborted, got, want)
					}
					if got, want := d.Judge(stayed), without.Judge(stayed); got != want {
						t.Errorf("%s, latency %v: %+v is %v, want %v as without a policy", policy, latency, stayed, got, want)
					}
					if got, want := without.Judge(aborted), without.Judge(stayed); got != want {
						t.Errorf("no policy, latency %v: %+v is %v, want %v as if the client had stayed", latency, aborted, got, want)
					}
				}
			}
		}
	}
}

func TestCount_agrees_with_judging_one_by_one(t *testing.T) {
	for _, d := range []Definition{{}, {Latency: time.Second}, {ClientAborts: IgnoreAborts}, {ClientAborts: AbortsBad, Latency: time.Second}} {
		var counted, judged Events
		for i, status := range []string{"200", "404", "503", "panic", "hijacked"} {
			for _, aborted := range []bool{false, true} {
				all, within := uint64(10*i+7), uint64(3*i+2)
				d.Count(&counted, status, aborted, all, within)
				for n := range all {
					switch d.Judge(Request{status, aborted, n < within}) {
					case Good:
						judged.Good++
					case Bad:
						judged.Bad++
					}
				}
			}
		}
		if counted != judged || counted.Bad == 0 || counted.Good == 0 {
			t.Errorf("%+v: %+v, want %+v", d, counted, judged)
		}
	}
}

// The table of "The Site Reliability Workbook", chapter 5, and its windows.
func TestTiers_are_those_of_the_workbook(t *testing.T) {
	want := "fast 1h0m0s 5m0s 14.4, medium 6h0m0s 30m0s 6, slow 24h0m0s 2h0m0s 3, trickle 72h0m0s 6h0m0s 1"
	var got []string
	for _, tier := range Tiers() {
		got = append(got, fmt.Sprintf("%s %v %v %.13g", tier.Name, tier.Long, tier.Short, tier.Factor(30*day)))
	}
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// At that rate the tier's share of the budget is what the bad events of the long window
// are, whatever the period.
func TestFactor_burns_the_share_of_the_budget_in_the_long_window(t *testing.T) {
	for _, tier := range Tiers() {
		for _, period := range []time.Duration{7 * day, 28 * day, 30 * day, 90 * day, 366 * day} {
			const perHour, allowed = 1e6, 0.001
			bad := tier.Factor(period) * allowed * perHour * tier.Long.Hours()
			budget := allowed * perHour * period.Hours()
			if got := bad / budget; got < tier.Share*(1-1e-12) || got > tier.Share*(1+1e-12) {
				t.Errorf("%s of %v: %v of the budget, want %v", tier.Name, period, got, tier.Share)
			}
		}
	}
}

func TestBudget_of_known_events(t *testing.T) {
	for _, c := range []struct {
		events    Events
		allowed   float64
		remaining string
		burn      string
	}{
		{Events{}, 0.001, "1", "0"},
		{Events{Good: 1000}, 0.001, "1", "0"},
		{Events{Good: 999, Bad: 1}, 0.001, "0", "1"},
		{Events{Good: 9995, Bad: 5}, 0.001, "0.5", "0.5"},
		{Events{Good: 998, Bad: 2}, 0.001, "-1", "2"},
		{Events{Bad: 1}, 0.01, "-99", "100"},
	} {
		remaining, burn := BudgetRemaining(c.events, c.allowed), BurnRate(c.events.ErrorRatio(), c.allowed)
		if got := fmt.Sprintf("%.12g %.12g", remaining, burn); got != c.remaining+" "+c.burn {
			t.Errorf("%+v: remaining and burn rate %s, want %s %s", c.events, got, c.remaining, c.burn)
		}
	}
}

func TestExhaustion_is_when_what_is_left_has_burnt(t *testing.T) {
	for _, c := range []struct {
		remaining, burn float64
		want            string
	}{
		{1, 1, "2592000 true"},
		{0.5, 14.4, "90000 true"},
		{0.5, 0.5, "2592000 true"},
		{0, 0, "0 true"},
		{-3, 1, "0 true"},
		{1, 0, "0 false"},
		{1, 1e-320, "0 false"},
	} {
		seconds, ok := Exhaustion(c.remaining, c.burn, 30*day)
		if got := fmt.Sprintf("%.12g %v", seconds, ok); got != c.want {
			t.Errorf("remaining %v at %v: %s, want %s", c.remaining, c.burn, got, c.want)
		}
	}
}

func TestState_is_told_by_both_windows(t *testing.T) {
	for _, c := range []struct {
		long, short float64
		want        State
	}{{15, 15, Critical}, {15, 14.4, Recovering}, {14.4, 15, Increasing}, {14.4, 14.4, OK}, {0, 0, OK}} {
		if got := StateOf(c.long, c.short, 14.4); got != c.want {
			t.Errorf("%v and %v: %s, want %s", c.long, c.short, got, c.want)
		}
	}
}

func TestValidate_names_the_key_and_the_reason(t *testing.T) {
	good := Definition{Name: "x", Objective: 99, Window: DefaultWindow}
	if got := good.Validate(); got != nil {
		t.Errorf("of a good one: %v", got)
	}
	for want, change := range map[string]func(*Definition){
		`objective: "objective" must be a percentage above 0 and below 100, got 100`:                  func(d *Definition) { d.Objective = 100 },
		`objective: "objective" must not be nearer to 0 or 100 than a trillionth, got 99.99999999999`: func(d *Definition) { d.Objective = 99.99999999999 },
		`objective: "objective" must not be nearer to 0 or 100 than a trillionth, got 1e-11`:          func(d *Definition) { d.Objective = 1e-11 },
		`window: "window" must be between 1h and 366d, got 0s`:                                        func(d *Definition) { d.Window = 0 },
		`latency: "latency" must be between 1us and 1h, got -1s`:                                      func(d *Definition) { d.Latency = -time.Second },
		`path: "path" must be a route without method, got "GET /a"; write path: /a and method: GET`:   func(d *Definition) { d.Path = "GET /a" },
		`method: unknown method "GTE", did you mean "GET"?`:                                           func(d *Definition) { d.Method = "GTE" },
		`method: unknown method "get", did you mean "GET"?`:                                           func(d *Definition) { d.Method = "get" },
	} {
		d := good
		change(&d)
		if got := d.Validate(); len(got) != 1 || got[0].Key+": "+got[0].Message != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
	}
}

func TestDoubts_are_about_what_is_allowed_but_hardly_meant(t *testing.T) {
	for _, c := range []struct {
		objective float64
		window    time.Duration
		want      string
	}{
		{99.9, 30 * day, ""},
		{99.9, 3 * day, ""},
		{99, 30 * day, ""},
		{94, 30 * day, ""},
		{99.9, day, "window: a window of 1d is shorter than the 3d that the slowest alert looks back, which tells little of it"},
		{99.9, 90 * time.Minute, "window: a window of 1h30m0s is shorter than the 3d that the slowest alert looks back, which tells little of it"},
		{93, 30 * day, `objective: the alert of tier "fast" can never fire: with an objective of 93 over 30d it waits for more bad events than there are events`},
		{99.99999999, 30 * day, "objective: an objective of 99.99999999 allows no bad event in 30d even at 1000 requests per second"},
	} {
		var got []string
		for _, p := range (Definition{Name: "x", Objective: c.objective, Window: c.window}).Doubts() {
			got = append(got, p.Key+": "+p.Message)
		}
		if text := strings.Join(got, "\n"); text != c.want {
			t.Errorf("%v over %v:\ngot  %s\nwant %s", c.objective, c.window, text, c.want)
		}
	}
}
