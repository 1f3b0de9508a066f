// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/lab/child"
)

const (
	manyListeners = 1000
	manySeries    = 1000
	// requestsPerSeries fill more than one bucket of each histogram.
	requestsPerSeries = 5
	scrapesPerFormat  = 20
)

// scrape measures an exporter that observes much: the time of a scrape, memory, and
// the processor time of doing nothing. Each case has an exporter of its own.
func scrape(ctx context.Context, b *bench) (section, error) {
	s := section{title: "A scrape, and memory"}
	t := table{header: []string{"observed", ">series", ">histograms", ">first", ">text", ">text, gzip", ">protobuf", ">collectors", ">processor time", ">size of text", ">RSS", ">most", ">BPF maps", ">idle"}}
	for _, c := range []struct {
		name                 string
		listeners, histogram int
	}{
		{"what else runs here", 0, 0},
		{fmt.Sprintf("+ %d HTTP histograms", manySeries), 0, manySeries},
		{fmt.Sprintf("+ %d listeners", manyListeners), manyListeners, 0},
		{"+ both", manyListeners, manySeries},
	} {
		progress("scrape: %s", c.name)
		o, err := observeMany(ctx, b, c.listeners, c.histogram)
		if err != nil {
			return section{}, fmt.Errorf("%s: %w", c.name, err)
		}
		t.add(c.name, fmt.Sprint(o.series), fmt.Sprint(o.histograms), milliseconds(o.first), milliseconds(o.wall[text]), milliseconds(o.wall[gzipped]), milliseconds(o.wall[protobuf]),
			milliseconds(o.collectors), milliseconds(o.processor), fmt.Sprintf("%d KiB", o.bytes>>10),
			mebibytes(o.memory.resident), mebibytes(o.memory.most), mebibytes(o.memory.maps), fmt.Sprintf("%.2f %%", 100*o.idle))
		switch {
		case c.listeners > 0 && c.histogram > 0:
			s.figures = append(s.figures,
				figure{fmt.Sprintf("memory of the exporter with %d listeners and %d HTTP histograms, RSS at most", manyListeners, manySeries), mebibytes(o.memory.most), "≤ 64 MiB"},
				figure{"BPF maps beside that", mebibytes(o.memory.maps), ""},
				figure{"processor time of that exporter when nobody asks, of one core", fmt.Sprintf("%.2f %%", 100*o.idle), "≤ 0.2 %"})
		case c.listeners > 0:
			what := fmt.Sprintf("scrape of %d listeners (%d series, %d of them histograms)", manyListeners, o.series, o.histograms)
			s.figures = append(s.figures, figure{what + ", text", milliseconds(o.wall[text]), "≤ 10 ms"}, figure{what + ", protobuf", milliseconds(o.wall[protobuf]), "≤ 10 ms"},
				figure{fmt.Sprintf("the first scrape after %d new listeners", manyListeners), milliseconds(o.first), ""})
		case c.histogram > 0:
			what := fmt.Sprintf("scrape of %d HTTP histograms", manySeries)
			s.figures = append(s.figures, figure{what + ", text", milliseconds(o.wall[text]), "≤ 10 ms"}, figure{what + ", protobuf", milliseconds(o.wall[protobuf]), "≤ 10 ms"})
		}
	}
	s.body = t.markdown() + fmt.Sprintf("\nFirst: the first scrape in text, which also finds out what each series is called. Text, gzip and protobuf: from the request to the last byte, seen by the client, median of %d; the client runs on the same cores.\n"+
		"Collectors: the sum of `tcpslo_collector_duration_seconds`, which leaves out the encoding. Processor time: what the exporter used for a\n"+
		"scrape in text, its garbage collector included. A series is a line of the table of metrics, a histogram counts as one. RSS and most: VmRSS and\n"+
		"VmHWM after all that. BPF maps: `memlock` in /proc/PID/fdinfo. Idle: processor time in %s without a scrape, of one core. Every listener\n"+
		"has had one connection, every HTTP series %d requests.\n", scrapesPerFormat, b.idle, requestsPerSeries)
	return s, nil
}

// observation is what was measured of one exporter. Times are in seconds.
type observation struct {
	series, histograms int
	bytes              int                // of a scrape in text
	first              float64            // the first scrape in text
	wall               map[format]float64 // of a scrape, by format
	collectors         float64            // sum over the collectors of one scrape
	processor          float64            // of one scrape in text
	memory             memory
	idle               float64 // part of one core
}

func observeMany(ctx context.Context, b *bench, listeners, series int) (o observation, err error) {
	hello, err := child.StartServer(ctx, b.tools.hello)
	if err != nil {
		return o, err
	}
	defer hello.Stop() //nolint:errcheck // measured is what happened before
	e, err := startExporter(ctx, b.tools.exporter)
	if err != nil {
		return o, err
	}
	defer func() { err = e.finish(err) }()
	closeAll, err := openListeners(listeners)
	defer closeAll()
	if err != nil {
		return o, err
	}
	if err := requestSeries(ctx, hello.Listen[0], series); err != nil {
		return o, err
	}
	first, err := e.get(text)
	if err != nil {
		return o, err
	}
	o.first = first.took.Seconds()
	if _, err := e.awaitRequests(series*requestsPerSeries, true); err != nil {
		return o, err
	}
	if err := o.scrape(e); err != nil {
		return o, err
	}
	if want := series + 3*listeners; o.histograms < want {
		return o, fmt.Errorf("the scrape has %d histograms, want at least %d", o.histograms, want)
	}
	if o.memory, err = memoryOf(e.PID); err != nil {
		return o, err
	}
	return o, o.watchIdle(ctx, e, b.idle)
}

// scrape asks for metrics in all formats, in turn.
func (o *observation) scrape(e *exporter) error {
	took := map[format][]float64{}
	var collectors, processor []float64
	for range scrapesPerFormat {
		for _, f := range []format{text, gzipped, protobuf} {
			before, err := processorTime(e.PID)
			if err != nil {
				return err
			}
			a, err := e.get(f)
			if err != nil {
				return err
			}
			took[f] = append(took[f], a.took.Seconds())
			if f != text {
				continue
			}
			after, err := processorTime(e.PID)
			if err != nil {
				return err
			}
			processor = append(processor, (after - before).Seconds())
			metrics, err := parse(a.body)
			if err != nil {
				return err
			}
			collectors = append(collectors, metrics.sum(names.CollectorDuration.Full(), nil))
			o.bytes = len(a.body)
			o.series, o.histograms = metrics.size()
		}
	}
	o.collectors, o.processor, o.wall = median(collectors), median(processor), map[format]float64{}
	for f, all := range took {
		o.wall[f] = median(all)
	}
	return nil
}

func (o *observation) watchIdle(ctx context.Context, e *exporter, d time.Duration) error {
	before, err := processorTime(e.PID)
	if err != nil {
		return err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := processorTime(e.PID)
	o.idle = (after - before).Seconds() / d.Seconds()
	return err
}

// openListeners opens listening sockets and lets each accept one connection, so
// that it has a sample in each of its histograms.
func openListeners(n int) (closeAll func(), err error) {
	var all []io.Closer
	closeAll = func() {
		for _, c := range all {
			c.Close() //nolint:errcheck // nothing was written
		}
	}
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return closeAll, err
		}
		all = append(all, l)
		client, err := net.DialTimeout("tcp4", l.Addr().String(), 10*time.Second)
		if err != nil {
			return closeAll, err
		}
		accepted, err := l.Accept()
		if err == nil {
			err = accepted.Close()
		}
		if err := client.Close(); err != nil {
			return closeAll, err
		}
		if err != nil {
			return closeAll, err
		}
	}
	return closeAll, nil
}

// requestSeries sends requests that differ in method and status, so that each
// pair is a series.
func requestSeries(ctx context.Context, address string, n int) error {
	transport := &http.Transport{} // unlike a Client it follows no redirect
	defer transport.CloseIdleConnections()
	for i := range n * requestsPerSeries {
		which := i % n
		method, status := []string{http.MethodGet, http.MethodHead}[which%2], 200+which/2
		request, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s/status/%d", address, status), nil)
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		if err := response.Body.Close(); err != nil {
			return err
		}
		if response.StatusCode != status {
			return fmt.Errorf("%s %s was answered with %s", method, request.URL, response.Status)
		}
	}
	return nil
}
