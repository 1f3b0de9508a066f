// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// sharing is a way in which the connections of a listener are shared out.
type sharing struct{ label, metric string }

// sharings are by the socket that accepts, one for each worker of an SO_REUSEPORT group, and by the CPU
// whose softirq put the connection into the queue.
var sharings = []sharing{{"worker", accepted}, {"cpu", queued}}

func askBalance(r *request) (questions []question) {
	for i, by := range sharings {
		sum := "sum by (service, listener, netns, instance, " + by.label + ") "
		questions = append(questions,
			question{name: "connections by " + by.label, over: true, need: need(min(i, 1)), expr: sum + "(rate(" + r.ofListener(by.metric) + "[" + r.rate() + "]))"},
			question{name: "how many by " + by.label, need: wanted, expr: sum + "(increase(" + r.ofListener(by.metric) + "[" + duration(r.span()) + "]))"})
	}
	return questions
}

// showBalance has a frame of the share of each worker and each CPU in the connections of its listener, and a table that
// judges how even they are over the whole range.
func showBalance(r *request, given answers) data.Frames {
	var fields []*data.Field
	var rows []balance
	for i, by := range sharings {
		links := r.explore("Connections", askBalance(r)[2*i].expr)
		for _, group := range groups(given.series("connections by "+by.label), by.label) {
			for _, s := range shares(group) {
				fields = append(fields, curve("share", s.Labels, s.Values, data.FieldConfig{DisplayNameFromDS: title(without(s.Labels, by.label)) + " " + by.label + " " + s.Labels[by.label], Unit: unitShare, Links: links}))
			}
		}
		for _, group := range groups(given.series("how many by "+by.label), by.label) {
			rows = append(rows, judge(by.label, group))
		}
	}
	if fields == nil {
		return nil
	}
	frames := data.Frames{wide(r.grid, fields...)}
	if len(rows) > 0 {
		frames = append(frames, balanceFrame(rows))
	}
	return frames
}

// groups puts series together that differ in one label only.
func groups(series []promapi.Series, label string) (all [][]promapi.Series) {
	found := map[string][]promapi.Series{}
	for _, s := range sorted(series) {
		key := title(without(s.Labels, label)) + "\x00" + without(s.Labels, label).String()
		found[key] = append(found[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[key])
	}
	return all
}

// balance is how evenly the connections of a listener are shared out.
type balance struct {
	labels      data.Labels
	by          string
	members     int
	connections float64
	variation   float64 // standard deviation by mean; NaN without connections
	largest     float64 // share of the busiest, by that of an even one
	chiSquare   float64
	critical    float64
	fewEvents   bool
}

const (
	// chiSquareZ is the normal deviate of 1 in 100: an even group looks uneven that often.
	chiSquareZ = 2.3263
	// leastEach is how many connections each must be due for the test to be meaningful (W. G. Cochran, 1954).
	leastEach = 5
	// leastVariation is what nobody would mend, however certain it is.
	leastVariation = 0.1
)

// judge tests whether connections are shared out evenly, by Pearson's chi-square. The bound is that of
// Wilson and Hilferty ("The distribution of chi-square", 1931), good to a percent for two members and
// better for more.
func judge(by string, group []promapi.Series) balance {
	b := balance{labels: without(group[0].Labels, by), by: by, members: len(group)}
	for _, s := range group {
		b.connections += s.Value()
	}
	mean := b.connections / float64(b.members)
	var squares, largest float64
	for _, s := range group {
		squares += (s.Value() - mean) * (s.Value() - mean)
		largest = max(largest, s.Value())
	}
	b.variation = math.Sqrt(squares/float64(b.members)) / mean
	b.largest = largest / mean
	b.chiSquare = squares / mean
	if freedom := float64(b.members - 1); freedom > 0 {
		b.critical = freedom * math.Pow(1-2/(9*freedom)+chiSquareZ*math.Sqrt(2/(9*freedom)), 3)
	}
	b.fewEvents = !(mean >= leastEach)
	return b
}

func (b balance) verdict() string {
	switch {
	case b.members == 1:
		return "only one"
	case b.fewEvents:
		return "too few"
	case b.chiSquare > b.critical && b.variation > leastVariation:
		return "uneven"
	}
	return "even"
}

func balanceFrame(rows []balance) *data.Frame {
	slices.SortStableFunc(rows, func(a, b balance) int { return cmp.Compare(title(a.labels), title(b.labels)) })
	n := len(rows)
	service, listener, netns, by, verdict := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	members, connections, variation, largest, chi := make([]*float64, n), make([]*float64, n), make([]*float64, n), make([]*float64, n), make([]*float64, n)
	for i, b := range rows {
		service[i], listener[i], netns[i], by[i], verdict[i] = b.labels["service"], b.labels["listener"], b.labels["netns"], b.by, b.verdict()
		members[i], connections[i], variation[i], largest[i], chi[i] = value(float64(b.members)), value(b.connections), value(b.variation), value(b.largest), value(b.chiSquare)
	}
	colours := data.ValueMapper{"even": {Color: green, Text: "even"}, "uneven": {Color: red, Text: "uneven"}}
	return table(
		column("service", service, data.FieldConfig{DisplayNameFromDS: "Service"}),
		column("listener", listener, data.FieldConfig{DisplayNameFromDS: "Listener"}),
		column("netns", netns, data.FieldConfig{DisplayNameFromDS: "Network namespace"}),
		column("by", by, data.FieldConfig{DisplayNameFromDS: "By"}),
		column("verdict", verdict, data.FieldConfig{DisplayNameFromDS: "Verdict", Mappings: data.ValueMappings{colours}, Description: "uneven: chance alone gives this once in a hundred times, and it is more than a tenth."}),
		column("members", members, data.FieldConfig{DisplayNameFromDS: "Members"}),
		column("connections", connections, data.FieldConfig{DisplayNameFromDS: "Connections", Unit: "short"}),
		column("variation", variation, data.FieldConfig{DisplayNameFromDS: "Coefficient of variation", Unit: unitShare}),
		column("largest", largest, data.FieldConfig{DisplayNameFromDS: "Busiest to even", Unit: "x"}),
		column("chi_square", chi, data.FieldConfig{DisplayNameFromDS: "Chi-square"}),
	)
}
