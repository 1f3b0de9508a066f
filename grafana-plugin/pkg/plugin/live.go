// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

const (
	// silence is how long an exporter may say nothing: it says every 15 s that it is alive.
	silence = 40 * time.Second
	// again is how long a lost exporter is left alone.
	again = 3 * time.Second
	// maxLine is the longest line of a stream, bytes; one request takes a few hundred.
	maxLine = 1 << 20
)

var (
	errConnecting = errors.New("it has not answered yet")
	errStalled    = fmt.Errorf("nothing came for %s, not even a sign of life", silence)
	errLine       = fmt.Errorf("a line is longer than %d bytes", maxLine)
)

// live sums up the second under way, of all exporters.
type live struct {
	query liveQuery
	mu    sync.Mutex
	lost  map[string]error // why an exporter is not heard
	sums  *second
}

// second is what a frame has of one second.
type second struct {
	at                 time.Time
	slow, failed, lost float64
	slowest            float64
	stages             map[string]float64
	heard, exporters   float64
}

func newSecond() *second { return &second{stages: map[string]float64{}} }

// frame has one row, or none for the zero second.
func (s *second) frame() *data.Frame {
	var at []time.Time
	field := func(name, display, unit string, value float64) *data.Field {
		var values []float64
		if !s.at.IsZero() {
			values = []float64{value}
		}
		return column(name, values, data.FieldConfig{DisplayNameFromDS: display, Unit: unit})
	}
	if !s.at.IsZero() {
		at = []time.Time{s.at}
	}
	fields := []*data.Field{
		data.NewField("time", nil, at),
		field("slow", "slow requests", unitPerSecond, s.slow),
		field("failed", "slow requests that failed", unitPerSecond, s.failed),
		field("slowest", "slowest", unitSeconds, s.slowest),
		field("exporters", "exporters heard", "short", s.heard),
		field("lost", "requests not told", unitPerSecond, s.lost),
	}
	for _, stage := range stages {
		fields = append(fields, field(stage, "in "+stage, unitSeconds, s.stages[stage]))
	}
	return data.NewFrame("live", fields...)
}

// take ends a second.
func (l *live) take(now time.Time, exporters int) *data.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.sums
	l.sums = newSecond()
	done.at, done.exporters, done.heard = now, float64(exporters), float64(exporters-len(l.lost))
	frame := done.frame()
	for _, base := range sortedKeys(l.lost) {
		frame.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: l.lost[base].Error()})
	}
	return frame
}

// follow reads the stream of an exporter, and opens it again when it ends, until the context is done.
func (l *live) follow(ctx context.Context, d *Datasource, base string) {
	for ctx.Err() == nil {
		err := l.read(ctx, d, base)
		l.mu.Lock()
		l.lost[base] = err
		l.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (l *live) read(ctx context.Context, d *Datasource, base string) error {
	ctx, stall := context.WithCancelCause(ctx)
	defer stall(nil)
	watch := time.AfterFunc(silence, func() { stall(fmt.Errorf("exporter %s: %w", redacted(base), errStalled)) })
	defer watch.Stop()
	query := url.Values{"slow": {"true"}}
	if len(l.query.Services) == 1 {
		query.Set("service", l.query.Services[0])
	}
	answer, err := open(ctx, d.streams, base, "requests/stream", query, "text/event-stream")
	if err != nil {
		return whyDone(ctx, err)
	}
	defer answer.Body.Close()
	l.mu.Lock()
	delete(l.lost, base)
	l.mu.Unlock()
	err = timeline.ReadEvents(&watched{Reader: answer.Body, alive: func() { watch.Reset(silence) }}, l.add)
	if errors.Is(err, io.EOF) {
		err = errors.New("it has ended its stream")
	}
	return whyDone(ctx, fmt.Errorf("exporter %s: %w", redacted(base), err))
}

// whyDone is why a context was cancelled, if it was.
func whyDone(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// watched tells of each sign of life, and lets no line be longer than maxLine.
type watched struct {
	io.Reader
	alive func()
	line  int
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.alive()
	}
	if at := slices.Index(p[:n], '\n'); at >= 0 {
		w.line = 0
		for i := n - 1; i > at && p[i] != '\n'; i-- {
			w.line++
		}
	} else if w.line += n; w.line > maxLine {
		return 0, errLine
	}
	return n, err
}

// add counts an event.
func (l *live) add(e timeline.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Name {
	case timeline.EventLost:
		var loss timeline.Loss
		if err := json.Unmarshal(e.Data, &loss); err != nil {
			return err
		}
		l.sums.lost += float64(loss.Lost)
	case timeline.EventRequest:
		var r timeline.Request
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		if len(l.query.Services) > 0 && !slices.Contains(l.query.Services, r.Service) {
			return nil
		}
		l.sums.slow++
		if r.Status == "panic" || len(r.Status) == 3 && r.Status[0] == '5' {
			l.sums.failed++
		}
		l.sums.slowest = max(l.sums.slowest, r.Duration.Seconds())
		for _, stage := range r.Stages {
			if slices.Contains(stages, stage.Name) {
				l.sums.stages[stage.Name] += stage.Duration.Seconds()
			}
		}
	}
	return nil
}
