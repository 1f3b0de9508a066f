// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

const helloPath = "/hello/x"

// warmUp is how many requests go before those that are measured: the first hit of
// a probe copies the page that it stands on.
const warmUp = 1000

// quantities are what is compared of a server with and without the exporter.
type quantities struct{ p50, p99, rps, processor comparison }

// side is one of the two that are compared: an exporter with a configuration, or none.
type side struct {
	hasExporter bool
	config      string
}

// server compares a server with and without the exporter.
func server(ctx context.Context, b *bench) (section, error) {
	return compareServer(ctx, b, "A server with and without the exporter", "hello-world server", side{}, side{hasExporter: true})
}

// timelineOnOff compares a server with an exporter whose collector timeline is on with one
// where it is off, and all others are on.
func timelineOnOff(ctx context.Context, b *bench) (section, error) {
	return compareServer(ctx, b, "The collector timeline on and off, all others on", "hello-world server, timeline",
		side{true, "collectors: {timeline: false}\n"}, side{hasExporter: true})
}

// compareServer compares a server on two sides. In each round each side runs once;
// which comes first alternates, so that neither gains from a machine that becomes slower
// or faster.
func compareServer(ctx context.Context, b *bench, title, subject string, off, on side) (section, error) {
	hello, err := child.StartServer(ctx, b.tools.hello)
	if err != nil {
		return section{}, err
	}
	defer hello.Stop() //nolint:errcheck // measured is what happened before
	drivers := b.drivers()
	found := make([]quantities, len(drivers))
	for round := range b.rounds {
		for _, isOn := range []bool{round%2 == 1, round%2 == 0} {
			one := off
			if isOn {
				one = on
			}
			if err := serverRound(ctx, b, hello, one, isOn, drivers, found); err != nil {
				return section{}, err
			}
		}
	}
	s := section{title: title}
	t := table{header: []string{"load by", "quantity", ">off", ">on", ">on ÷ off", ">quartiles of the rounds"}}
	for i, d := range drivers {
		q := found[i]
		for _, row := range []struct {
			what  string
			c     comparison
			write func(float64) string
			aim   string
		}{
			{"p50", q.p50, microseconds, "≤ 1.03"},
			{"p99", q.p99, microseconds, ""},
			{"requests a second", q.rps, func(v float64) string { return fmt.Sprintf("%.0f", v) }, "≥ 0.97"},
			{"processor time of the server for a request", q.processor, microseconds, ""},
		} {
			low, high := row.c.spread()
			ratio := fmt.Sprintf("%.3f", row.c.ratio())
			t.add(d.name, row.what, row.write(median(row.c.off)), row.write(median(row.c.on)), ratio, fmt.Sprintf("%.3f – %.3f", low, high))
			if row.what != "p99" { // of a busy machine it tells of the scheduler
				change := fmt.Sprintf("%s (%s → %s)", ratio, row.write(median(row.c.off)), row.write(median(row.c.on)))
				s.figures = append(s.figures, figure{fmt.Sprintf("%s, %s, on ÷ off (%s)", subject, row.what, d.name), change, row.aim})
			}
		}
	}
	s.body = t.markdown() + fmt.Sprintf("\n`GET %s` over keep-alive connections of loopback, client and server on the same cores; %d rounds. lab/load sends\n"+
		"%d requests in each; wrk, where it is installed, sends what it can in %d s. After each run with the exporter its count of\n"+
		"requests was compared with the client's. The quartiles are those of the ratio in single rounds: how much the machine itself\n"+
		"wavers.\n", helloPath, b.rounds, b.requests, wrkSeconds)
	return s, nil
}

func serverRound(ctx context.Context, b *bench, hello *child.Server, with side, isOn bool, drivers []driver, found []quantities) (err error) {
	var e *exporter
	if with.hasExporter {
		var flags []string
		if with.config != "" {
			file := filepath.Join(b.tools.dir, "side.yml")
			if err := os.WriteFile(file, []byte(with.config), 0o600); err != nil {
				return err
			}
			flags = append(flags, "--config.file="+file)
		}
		if e, err = startExporter(ctx, b.tools.exporter, flags...); err != nil {
			return err
		}
		defer func() { err = e.finish(err) }()
	}
	url := "http://" + hello.Listen[0] + helloPath
	if _, err := b.tools.runLoad(ctx, url, warmUp, loadConnections); err != nil {
		return err
	}
	counted := warmUp
	for i, d := range drivers {
		before, err := processorTime(hello.PID)
		if err != nil {
			return err
		}
		r, err := d.run(ctx, url)
		if err != nil {
			return err
		}
		after, err := processorTime(hello.PID)
		if err != nil {
			return err
		}
		q := &found[i]
		for _, one := range []struct {
			c     *comparison
			value float64
		}{{&q.p50, r.p50}, {&q.p99, r.p99}, {&q.rps, r.rps}, {&q.processor, (after - before).Seconds() / float64(r.requests)}} {
			if isOn {
				one.c.on = append(one.c.on, one.value)
			} else {
				one.c.off = append(one.c.off, one.value)
			}
		}
		counted += r.requests
		if with.hasExporter {
			if counted, err = e.awaitRequests(counted, d.exact); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitRequests waits until the exporter has counted so many requests, for the last
// handlers return a moment after their clients have the answers, and returns what
// it has counted. Another number means that what was measured is not what was
// meant to be; more than that may only be if the client doesn't tell of all.
func (e *exporter) awaitRequests(want int, exact bool) (int, error) {
	var counted int
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		metrics, err := e.metrics()
		if err != nil {
			return 0, err
		}
		counted = int(metrics.sum("tcpslo_http_request_duration_seconds", labels{"service": helloService}))
		if counted == want || counted > want && !exact {
			return counted, nil
		}
	}
	return 0, fmt.Errorf("the exporter has counted %d requests, the client %d", counted, want)
}
