// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// Units of Grafana.
const (
	unitShare     = "percentunit" // 0 to 1
	unitSeconds   = "s"
	unitPerSecond = "cps"
)

// Colours of Grafana.
const (
	green, orange, red, blue = "green", "orange", "red", "blue"
)

// wide makes a frame of a grid and fields of as many values.
func wide(grid promapi.Grid, fields ...*data.Field) *data.Frame {
	frame := data.NewFrame("", append([]*data.Field{data.NewField(data.TimeSeriesTimeFieldName, nil, grid.Times())}, fields...)...)
	frame.Meta = &data.FrameMeta{Type: data.FrameTypeTimeSeriesWide, TypeVersion: data.FrameTypeVersion{0, 1}}
	return frame
}

// table makes a frame of rows with text that says what each is about, and numbers.
func table(fields ...*data.Field) *data.Frame {
	frame := data.NewFrame("", fields...)
	frame.Meta = &data.FrameMeta{Type: data.FrameTypeNumericLong, TypeVersion: data.FrameTypeVersion{0, 1}, PreferredVisualization: data.VisTypeTable}
	return frame
}

// curve makes a field of values over time, of which those that are NaN are gaps.
func curve(name string, labels data.Labels, values []float64, config data.FieldConfig) *data.Field {
	field := data.NewField(name, labels, promapi.Nullable(values))
	if config.DisplayNameFromDS == "" {
		config.DisplayNameFromDS = strings.TrimSpace(title(labels) + " " + strings.ReplaceAll(name, "_", " "))
	}
	field.Config = &config
	return field
}

// column makes a field of a table.
func column[T any](name string, values []T, config data.FieldConfig) *data.Field {
	field := data.NewField(name, nil, values)
	field.Config = &config
	return field
}

// titles are the labels that a reader wants to see first, in this order.
var titles = []string{"service", "slo", "listener", "path", "stage", "burn_tier", "window", "worker", "cpu", "reason"}

// title names a series for a reader: the values of its labels, the most important first.
func title(labels data.Labels) string {
	known := slices.Sorted(maps.Keys(labels))
	slices.SortStableFunc(known, func(a, b string) int { return cmp.Compare(importance(a), importance(b)) })
	var parts []string
	for _, name := range known {
		if labels[name] != "" {
			parts = append(parts, labels[name])
		}
	}
	return strings.Join(parts, " ")
}

func importance(label string) int {
	if i := slices.Index(titles, label); i >= 0 {
		return i
	}
	return len(titles)
}

// without copies labels but those that are named.
func without(labels data.Labels, names ...string) data.Labels {
	rest := maps.Clone(labels)
	if rest == nil {
		rest = data.Labels{}
	}
	for _, name := range names {
		delete(rest, name)
	}
	return rest
}

// identity is what tells one SLO from another: its service, its name and what else its Prometheus
// tells apart, such as a cluster. The name of the series and what the rules add are not of it.
func identity(labels data.Labels) data.Labels {
	return without(labels, "__name__", "window", "burn_tier", "long", "short", "path")
}

// byIdentity finds series by their SLO.
func byIdentity(series []promapi.Series) map[string]promapi.Series {
	found := make(map[string]promapi.Series, len(series))
	for _, s := range series {
		found[identity(s.Labels).String()] = s
	}
	return found
}

// sorted orders series by what they are titled, so that panels keep their colours.
func sorted(series []promapi.Series) []promapi.Series {
	return slices.SortedStableFunc(slices.Values(series), func(a, b promapi.Series) int {
		return cmp.Or(cmp.Compare(title(identity(a.Labels)), title(identity(b.Labels))), cmp.Compare(a.Labels.String(), b.Labels.String()))
	})
}

// value is a number of a table; null if it is not known.
func value(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

// valueOf is the value of a series that may not be there.
func valueOf(found map[string]promapi.Series, key string) *float64 {
	if s, ok := found[key]; ok {
		return value(s.Value())
	}
	return nil
}

// steps makes thresholds: the first colour from minus infinity, each other one from its value on.
func steps(first string, more ...data.Threshold) *data.ThresholdsConfig {
	return &data.ThresholdsConfig{Mode: data.ThresholdsModeAbsolute, Steps: append([]data.Threshold{data.NewThreshold(math.Inf(-1), first, "")}, more...)}
}

func step(from float64, colour string) data.Threshold { return data.NewThreshold(from, colour, "") }

// explore links to the PromQL of a number in the stock Prometheus datasource.
func (r *request) explore(name, expr string) []data.DataLink {
	if r.settings.PrometheusUID == "" {
		return nil
	}
	return []data.DataLink{{Title: name + " in Prometheus", Internal: &data.InternalDataLink{
		DatasourceUID: r.settings.PrometheusUID,
		Query:         map[string]any{"refId": "A", "expr": expr, "range": true, "instant": false},
	}}}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
