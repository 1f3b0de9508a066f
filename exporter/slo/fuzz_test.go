// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"
)

// finite wants numbers that can be drawn and compared.
func finite(t *testing.T, what string, numbers ...float64) {
	t.Helper()
	for _, n := range numbers {
		if math.IsNaN(n) || math.IsInf(n, 0) {
			t.Fatalf("%s: %v", what, numbers)
		}
	}
}

// FuzzBudget compares with exact arithmetic whatever is a valid objective.
func FuzzBudget(f *testing.F) {
	f.Add(99.9, uint64(999), uint64(1), uint64(30*24*3600))
	f.Add(99.9999999999, uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(3600))
	f.Add(1e-9, uint64(0), uint64(0), uint64(366*24*3600))
	f.Add(50.0, uint64(0), uint64(1), uint64(3600))
	f.Fuzz(func(t *testing.T, objective float64, good, bad, seconds uint64) {
		d := Definition{Name: "x", Objective: objective, Window: time.Duration(seconds%(366*24*3600)) * time.Second}
		if len(d.Validate()) > 0 {
			return
		}
		d.Doubts()
		e, allowed := Events{good, bad}, d.Allowed()
		ratio := e.ErrorRatio()
		burn, remaining := BurnRate(ratio, allowed), BudgetRemaining(e, allowed)
		exhausted, ever := Exhaustion(remaining, burn, d.Window)
		finite(t, "ratio, burn rate, remaining, exhausted", ratio, burn, remaining, exhausted)
		if ratio < 0 || ratio > 1 || burn < 0 || remaining > 1 || exhausted < 0 {
			t.Fatalf("%+v: ratio %v, burn rate %v, remaining %v, exhausted in %v", e, ratio, burn, remaining, exhausted)
		}
		if ever && remaining > 0 && bad == 0 {
			t.Fatalf("nothing is bad, and the budget is used up in %v s", exhausted)
		}

		// 1 - bad / (allowed * (good + bad)), and 0 of none.
		exact := new(big.Rat)
		if total := new(big.Rat).SetInt(new(big.Int).Add(new(big.Int).SetUint64(good), new(big.Int).SetUint64(bad))); total.Sign() > 0 {
			exact.Quo(new(big.Rat).SetInt(new(big.Int).SetUint64(bad)), total.Mul(total, new(big.Rat).SetFloat64(allowed)))
		}
		want, _ := exact.Sub(big.NewRat(1, 1), exact).Float64()
		if math.Abs(remaining-want) > 4e-16*math.Max(1, burn) {
			t.Fatalf("%+v, allowed %v: remaining %v, exactly %v", e, allowed, remaining, want)
		}

		// Another bad event leaves no more, another good one no less.
		if bad < math.MaxUint64 && BudgetRemaining(Events{good, bad + 1}, allowed) > remaining {
			t.Fatalf("%+v: one more bad event adds to the budget", e)
		}
		if good < math.MaxUint64 && BudgetRemaining(Events{good + 1, bad}, allowed) < remaining {
			t.Fatalf("%+v: one more good event takes from the budget", e)
		}
		for _, tier := range Tiers() {
			finite(t, "factor", tier.Factor(d.Window))
		}
	})
}

// FuzzJudge compares with the table of docs/slo.md, written down another way: the reasons for
// each verdict, of which the first that holds decides.
func FuzzJudge(f *testing.F) {
	for policy := range 4 {
		f.Add("200", true, true, uint8(policy), int64(0))
		f.Add("503", true, false, uint8(policy), int64(time.Second))
		f.Add("hijacked", false, true, uint8(policy), int64(time.Second))
	}
	f.Fuzz(func(t *testing.T, status string, aborted, within bool, policy uint8, latency int64) {
		d := Definition{Latency: time.Duration(latency), ClientAborts: AbortPolicy(policy % 4)}
		is5xx := strings.HasPrefix(status, "5") && len(status) == len("500")
		want := Bad
		for _, reason := range []struct {
			holds   bool
			verdict Verdict
		}{
			{aborted && d.ClientAborts == AbortsGood, Good},
			{aborted && d.ClientAborts == AbortsBad, Bad},
			{aborted && d.ClientAborts == IgnoreAborts, NoEvent},
			{is5xx || status == "panic", Bad},
			{status == "hijacked" && latency != 0, NoEvent},
			{latency == 0 || within, Good},
		} {
			if reason.holds {
				want = reason.verdict
				break
			}
		}
		if got := d.Judge(Request{status, aborted, within}); got != want {
			t.Fatalf("%+v: %q, aborted %v, within %v: %v, want %v", d, status, aborted, within, got, want)
		}
	})
}

// FuzzWilson compares with the definition of the bound, solved by halving: it is the
// true ratio from which the ratio that was seen is Z standard deviations away.
func FuzzWilson(f *testing.F) {
	f.Add(0.5, 2.0)
	f.Add(0.0, 100.0)
	f.Add(1.0, 1.0)
	f.Add(0.001, 1e9)
	f.Add(0.3, 1e-300)
	f.Add(0.3, math.MaxFloat64)
	f.Add(0.06, 1.7976931348623158e+307)
	f.Fuzz(func(t *testing.T, ratio, events float64) {
		if !(ratio >= 0 && ratio <= 1 && events >= 0) || math.IsInf(events, 0) {
			return
		}
		got := WilsonLowerBound(ratio, events)
		finite(t, "bound", got)
		if got < 0 || got > ratio {
			t.Fatalf("ratio %v of %v events: bound %v", ratio, events, got)
		}
		if more := WilsonLowerBound(ratio, 2*events); !math.IsInf(2*events, 0) && more < got-1e-15 {
			t.Fatalf("ratio %v: bound %v of %v events and %v of twice as many", ratio, got, events, more)
		}
		if events < 1e-3 || events > 1e12 {
			return // the halving is not accurate there
		}
		low, high := 0.0, ratio
		for range 200 {
			middle := (low + high) / 2
			if ratio-middle > Z*math.Sqrt(middle*(1-middle)/events) {
				low = middle
			} else {
				high = middle
			}
		}
		if math.Abs(got-low) > 1e-9 {
			t.Fatalf("ratio %v of %v events: bound %v, by halving %v", ratio, events, got, low)
		}
	})
}
