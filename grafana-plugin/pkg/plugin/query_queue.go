// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"math"
	"slices"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

func askQueue(r *request) []question {
	by := func(operator, expr string) string {
		return operator + " by (service, listener, netns, instance) (" + expr + ")"
	}
	return []question{
		{name: "accept queues", expr: by("max", r.ofListener(queueDepth)), over: true},
		{name: "limits", expr: by("max", r.ofListener(queueLimit)), over: true, need: wanted},
		{name: "refusals", expr: "sum by (service, listener, netns, instance, reason) (rate(" + r.ofListener(listenDrops) + "[" + r.rate() + "]))", over: true, need: wanted},
		{name: "growth of the queues", expr: by("max", "deriv("+r.ofListener(queueDepth)+"["+r.rate()+"])"), over: true, need: wanted},
	}
}

// showQueue has for each listener its queue and limit in connections, refused connections by reason, and, while the
// queue grows, when it will overflow.
func showQueue(r *request, given answers) data.Frames {
	limits, growth := byListener(given.series("limits")), byListener(given.series("growth of the queues"))
	var fields []*data.Field
	for _, depth := range sorted(given.series("accept queues")) {
		key := depth.Labels.String()
		fields = append(fields, curve("queued", depth.Labels, depth.Values, data.FieldConfig{Unit: "short", Links: r.explore("Accept queue", askQueue(r)[0].expr)}))
		limit, known := limits[key]
		if !known {
			continue
		}
		fields = append(fields, curve("limit", depth.Labels, limit.Values, data.FieldConfig{Unit: "short", Custom: map[string]any{"lineStyle": map[string]any{"fill": "dash", "dash": []int{10, 10}}}}))
		if grows, known := growth[key]; known {
			fields = append(fields, curve("overflows_in", depth.Labels, overflow(depth.Values, limit.Values, grows.Values), data.FieldConfig{Unit: unitSeconds,
				Description: "If the queue grows as it does; unknown while it doesn't."}))
		}
	}
	refusals := sorted(given.series("refusals"))
	slices.SortStableFunc(refusals, func(a, b promapi.Series) int { return cmp.Compare(title(a.Labels), title(b.Labels)) })
	for _, s := range refusals {
		fields = append(fields, curve("refused", s.Labels, s.Values, data.FieldConfig{Unit: unitPerSecond, Thresholds: steps(green, step(1e-9, red))}))
	}
	if fields == nil {
		return nil
	}
	return data.Frames{wide(r.grid, fields...)}
}

func byListener(series []promapi.Series) map[string]promapi.Series {
	found := map[string]promapi.Series{}
	for _, s := range series {
		found[s.Labels.String()] = s
	}
	return found
}

// overflow is in how many seconds the queue will be full. The kernel takes one connection more than the limit
// (sk_acceptq_is_full, include/net/sock.h): it refuses when the queue is longer than that.
func overflow(depth, limit, growth []float64) []float64 {
	seconds := make([]float64, len(depth))
	for i := range seconds {
		if seconds[i] = math.NaN(); growth[i] > 0 {
			seconds[i] = max(0, limit[i]+1-depth[i]) / growth[i]
		}
	}
	return seconds
}
