// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"maps"
	"slices"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

func askBurn(r *request) []question {
	return []question{
		{name: "burn rates", expr: r.ofSLO("", promql.Is("__name__", burnRates()...)), over: true},
		{name: "burn thresholds", expr: r.ofSLO(burnThreshold)},
	}
}

// showBurn has a frame of the burn rates of each tier in units of its threshold: above 1 in both windows, its
// alert fires. The second frame is the state of each SLO, for a state timeline.
func showBurn(r *request, given answers) data.Frames {
	found := burnsOf(given)
	keys := slices.Sorted(maps.Keys(found))
	var rates, states []*data.Field
	for _, key := range keys {
		b := found[key]
		for _, tier := range slo.Tiers() {
			factor, known := b.factors[tier.Name]
			if !known {
				continue
			}
			for _, window := range []time.Duration{tier.Long, tier.Short} {
				curve := b.inUnits(tier, window, factor)
				if curve == nil {
					continue
				}
				curve.Config.Links = r.explore("Burn rate", r.ofSLO(burnRate(window)))
				rates = append(rates, curve)
			}
		}
		states = append(states, b.timeline(r.grid.Points))
	}
	if rates == nil {
		return nil
	}
	return data.Frames{wide(r.grid, rates...), wide(r.grid, states...)}
}

// inUnits is the burn rate of a window of a tier, divided by the factor at which it fires.
func (b *burns) inUnits(tier slo.Tier, window time.Duration, factor float64) *data.Field {
	rates := b.rates[burnRate(window)]
	if rates == nil {
		return nil
	}
	values := make([]float64, len(rates))
	for i := range rates {
		values[i] = rates[i] / factor
	}
	labels := maps.Clone(b.labels)
	labels["burn_tier"], labels["window"] = tier.Name, duration(window)
	return curve("burn", labels, values, data.FieldConfig{DisplayNameFromDS: title(labels), Unit: "x", Thresholds: steps(green, step(1, red)),
		Description: "How fast the error budget burns, in units of the rate at which the alert of this tier fires."})
}

// timeline is the state at each point.
func (b *burns) timeline(points int) *data.Field {
	order := slices.Clone(severity)
	slices.Reverse(order)
	values := make([]*data.EnumItemIndex, points)
	enum := &data.EnumFieldConfig{}
	for _, state := range order {
		enum.Text = append(enum.Text, string(state))
		enum.Color = append(enum.Color, stateColours[state])
	}
	for i := range values {
		if at := slices.Index(order, b.state(i)); at >= 0 {
			index := data.EnumItemIndex(at)
			values[i] = &index
		}
	}
	field := data.NewField("state", b.labels, values)
	field.Config = &data.FieldConfig{DisplayNameFromDS: title(b.labels), TypeConfig: &data.FieldTypeConfig{Enum: enum}}
	return field
}
