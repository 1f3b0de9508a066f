// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"math"
	"slices"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/slo"
)

// burns are the burn rates of an SLO: a curve, or a single value, for each window that is recorded, and
// the factor at which each tier fires.
type burns struct {
	labels  data.Labels
	rates   map[string][]float64
	factors map[string]float64
}

// burnsOf collects the answers "burn rates" and "burn thresholds" by SLO.
func burnsOf(given answers) map[string]*burns {
	found := map[string]*burns{}
	for _, s := range given.series("burn rates") {
		labels := identity(s.Labels)
		b := found[labels.String()]
		if b == nil {
			b = &burns{labels, map[string][]float64{}, map[string]float64{}}
			found[labels.String()] = b
		}
		b.rates[s.Labels["__name__"]] = s.Values
	}
	for _, s := range given.series("burn thresholds") {
		if b := found[identity(s.Labels).String()]; b != nil {
			b.factors[s.Labels["burn_tier"]] = s.Value()
		}
	}
	return found
}

// now is the burn rate of the last hour, nil if it is not known.
func (b *burns) now() *float64 {
	if b == nil || b.rates[burnRate(time.Hour)] == nil {
		return nil
	}
	return value(b.rates[burnRate(time.Hour)][0])
}

// severity orders states, the worst first.
var severity = []slo.State{slo.Critical, slo.Increasing, slo.Recovering, slo.OK}

// state is the worst state of all tiers at a point of time, "" if none is known.
func (b *burns) state(point int) (worst slo.State) {
	if b == nil {
		return ""
	}
	for _, tier := range slo.Tiers() {
		if s := b.stateOf(tier, point); s != "" && (worst == "" || slices.Index(severity, s) < slices.Index(severity, worst)) {
			worst = s
		}
	}
	return worst
}

// stateOf is the state of one tier, "" if it is not known.
func (b *burns) stateOf(tier slo.Tier, point int) slo.State {
	long, short := b.rates[burnRate(tier.Long)], b.rates[burnRate(tier.Short)]
	factor, known := b.factors[tier.Name]
	if !known || long == nil || short == nil || math.IsNaN(long[point]) || math.IsNaN(short[point]) {
		return ""
	}
	return slo.StateOf(long[point], short[point], factor)
}

// colours of states.
var stateColours = map[slo.State]string{slo.OK: green, slo.Recovering: blue, slo.Increasing: orange, slo.Critical: red}

// stateMappings colours the states in a table.
func stateMappings() data.ValueMappings {
	mapper := data.ValueMapper{}
	for i, state := range severity {
		mapper[string(state)] = data.ValueMappingResult{Text: string(state), Color: stateColours[state], Index: i}
	}
	return data.ValueMappings{mapper}
}
