// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// seen is a request and the exporter that saw it.
type seen struct {
	timeline.Request
	exporter string
}

// fetchRequests asks the exporters for the slowest requests of the range: a table, and the slowest one of all as
// a trace. Exporters keep an hour.
func fetchRequests(ctx context.Context, r *request) (data.Frames, error) {
	urls, err := r.exporterURLs(ctx, r.Exporter)
	if err != nil {
		return nil, err
	}
	query := url.Values{"limit": {strconv.Itoa(r.Limit)}}
	if len(r.Services) > 1 || len(r.Paths) > 1 || r.to.Before(r.clock()) {
		query.Set("limit", "0") // an exporter knows one value of each; what is left over is decided here
	}
	if len(r.Services) == 1 {
		query.Set("service", r.Services[0])
	}
	if len(r.Paths) == 1 {
		query.Set("path", r.Paths[0])
	}
	type list struct {
		Requests []timeline.Request `json:"requests"`
	}
	lists, errs := each[list](ctx, r.Datasource, urls, "requests", query)
	if len(lists) == 0 {
		return nil, errors.Join(errs...)
	}
	var all []seen
	for base, of := range lists {
		for _, one := range of.Requests {
			if r.wants(one) {
				all = append(all, seen{one, redacted(base)})
			}
		}
	}
	slices.SortFunc(all, func(a, b seen) int {
		if a.Duration != b.Duration {
			return int(max(-1, min(1, b.Duration-a.Duration)))
		}
		return strings.Compare(a.exporter+a.ID, b.exporter+b.ID)
	})
	all = all[:min(len(all), r.Limit)]
	frames := data.Frames{requestTable(all)}
	for _, err := range errs {
		frames[0].AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: err.Error()})
	}
	if len(all) > 0 && !r.alerting {
		frames = append(frames, traceFrame(all[0].Request))
	}
	return frames, nil
}

func (r *request) wants(one timeline.Request) bool {
	return !one.Ended().Before(r.from) && !one.Started.After(r.to) &&
		(len(r.Services) == 0 || slices.Contains(r.Services, one.Service)) &&
		(len(r.Paths) == 0 || slices.Contains(r.Paths, one.Path))
}

func requestTable(all []seen) *data.Frame {
	texts := func(name, display string, get func(seen) string) *data.Field {
		values := make([]string, len(all))
		for i, one := range all {
			values[i] = get(one)
		}
		return column(name, values, data.FieldConfig{DisplayNameFromDS: display})
	}
	seconds := func(name, display string, get func(seen) *float64) *data.Field {
		values := make([]*float64, len(all))
		for i, one := range all {
			values[i] = get(one)
		}
		return column(name, values, data.FieldConfig{DisplayNameFromDS: display, Unit: unitSeconds})
	}
	started := make([]time.Time, len(all))
	for i, one := range all {
		started[i] = one.Started
	}
	fields := []*data.Field{
		column("started", started, data.FieldConfig{DisplayNameFromDS: "Started"}),
		texts("service", "Service", func(s seen) string { return s.Service }),
		texts("method", "Method", func(s seen) string { return s.Method }),
		texts("path", "Route", func(s seen) string { return s.Path }),
		texts("status_code", "Status", func(s seen) string { return s.Status }),
		seconds("duration", "Duration", func(s seen) *float64 { return value(s.Duration.Seconds()) }),
		texts("longest", "Longest stage", func(s seen) string { return longest(s.Request) }),
	}
	for _, stage := range stages {
		fields = append(fields, seconds(stage, stage, func(s seen) *float64 { return spent(s.Request, stage) }))
	}
	fields = append(fields,
		texts("slow", "Slow", func(s seen) string { return map[bool]string{true: "slow", false: "sampled"}[s.Slow] }),
		texts("goroutine", "Goroutine", func(s seen) string { return strconv.FormatUint(s.Goroutine, 10) }),
		texts("remote", "Client", func(s seen) string { return address(s.Remote.IsValid(), s.Remote.String()) }),
		texts("local", "Server", func(s seen) string { return address(s.Local.IsValid(), s.Local.String()) }),
		texts("trace_id", "Trace", func(s seen) string { return traceID(s.TraceParent) }),
		texts("id", "Id", func(s seen) string { return s.ID }),
		texts("exporter", "Exporter", func(s seen) string { return s.exporter }))
	frame := data.NewFrame("requests", fields...)
	frame.Meta = &data.FrameMeta{PreferredVisualization: data.VisTypeTable}
	return frame
}

func address(known bool, text string) string {
	if !known {
		return ""
	}
	return text
}

func longest(r timeline.Request) (name string) {
	var most time.Duration
	for _, stage := range r.Stages {
		if stage.Duration > most {
			name, most = stage.Name, stage.Duration
		}
	}
	return name
}

// spent is the time in a stage, nil if it was not seen.
func spent(r timeline.Request, name string) *float64 {
	for _, stage := range r.Stages {
		if stage.Name == name {
			return value(stage.Duration.Seconds())
		}
	}
	return nil
}

// traceID is that of a traceparent: version-traceid-parentid-flags (W3C Trace Context, section 3.2).
func traceID(traceparent string) string {
	if parts := strings.Split(traceparent, "-"); len(parts) >= 4 {
		return parts[1]
	}
	return ""
}
