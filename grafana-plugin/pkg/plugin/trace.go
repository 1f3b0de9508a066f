// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// span is a row of Grafana's trace frame.
type span struct {
	id, parent, name string
	start            time.Time
	duration         time.Duration
	tags             map[string]string
}

// traceFrame draws a request as a trace: a span for the whole, and in it one for each stage, one behind the other.
// Times are milliseconds since 1970, and durations milliseconds, as Grafana's trace view has them.
func traceFrame(r timeline.Request) *data.Frame {
	spans := []span{{id: r.ID, name: r.Method + " " + r.Path, start: r.Started, duration: r.Duration, tags: map[string]string{
		"http.request.method": r.Method, "http.route": r.Path, "http.response.status_code": r.Status,
		"goroutine": strconv.FormatUint(r.Goroutine, 10), "client.address": address(r.Remote.IsValid(), r.Remote.String()), "server.address": address(r.Local.IsValid(), r.Local.String()),
	}}}
	at := r.Started
	for i, stage := range r.Stages {
		spans = append(spans, span{id: r.ID + "-" + strconv.Itoa(i+1), parent: r.ID, name: stage.Name, start: at, duration: stage.Duration})
		at = at.Add(stage.Duration)
	}
	trace := traceID(r.TraceParent)
	if trace == "" {
		trace = r.ID
	}
	n := len(spans)
	traces, ids, parents, names, services := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	starts, durations := make([]float64, n), make([]float64, n)
	serviceTags, tags := make([]json.RawMessage, n), make([]json.RawMessage, n)
	for i, s := range spans {
		traces[i], ids[i], parents[i], names[i], services[i] = trace, s.id, s.parent, s.name, r.Service
		starts[i], durations[i] = float64(s.start.UnixNano())/1e6, float64(s.duration)/float64(time.Millisecond)
		serviceTags[i] = keyValues(map[string]string{"service.name": r.Service, "process.pid": strconv.FormatUint(uint64(r.PID), 10)})
		tags[i] = keyValues(s.tags)
	}
	frame := data.NewFrame("trace",
		data.NewField("traceID", nil, traces), data.NewField("spanID", nil, ids), data.NewField("parentSpanID", nil, parents),
		data.NewField("operationName", nil, names), data.NewField("serviceName", nil, services), data.NewField("serviceTags", nil, serviceTags),
		data.NewField("startTime", nil, starts), data.NewField("duration", nil, durations), data.NewField("tags", nil, tags))
	frame.Meta = &data.FrameMeta{PreferredVisualization: data.VisTypeTrace}
	return frame
}

// keyValues writes tags as the trace view reads them, those that are not known left out.
func keyValues(tags map[string]string) json.RawMessage {
	type pair struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	pairs := []pair{}
	for _, key := range sortedKeys(tags) {
		if tags[key] != "" {
			pairs = append(pairs, pair{key, tags[key]})
		}
	}
	text, _ := json.Marshal(pairs) // strings alone can't fail
	return text
}
