// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/lab/bpfstats"
	"github.com/tcpslo/tcpslo/lab/child"
)

// returnProgram reads what the handler has answered from the memory of the
// process, so it may take longer than the others.
const returnProgram = "serve_return"

// programs tells how long each BPF program runs, by the kernel's own statistics
// (BPF_ENABLE_STATS), under a load on keep-alive connections and under one that
// connects anew for each request.
func programs(ctx context.Context, b *bench) (_ section, err error) {
	hello, err := child.StartServer(ctx, b.tools.hello)
	if err != nil {
		return section{}, err
	}
	defer hello.Stop() //nolint:errcheck // measured is what happened before
	e, err := startExporter(ctx, b.tools.exporter)
	if err != nil {
		return section{}, err
	}
	defer func() { err = e.finish(err) }()
	stats, err := bpfstats.Enable()
	if err != nil {
		return section{}, err
	}
	defer stats.Close()
	url := "http://" + hello.Listen[0] + helloPath
	if _, err := b.tools.runLoad(ctx, url, warmUp, loadConnections); err != nil {
		return section{}, err
	}
	counted, err := e.awaitRequests(warmUp, true)
	if err != nil {
		return section{}, err
	}

	const connections = 5000 // well below the range of ephemeral ports
	before, err := e.account()
	if err != nil {
		return section{}, err
	}
	if _, err := b.tools.runLoad(ctx, url, b.requests, loadConnections); err != nil {
		return section{}, err
	}
	if counted, err = e.awaitRequests(counted+b.requests, true); err != nil {
		return section{}, err
	}
	between, err := e.account()
	if err != nil {
		return section{}, err
	}
	if err := connect(hello.Listen[0], helloPath, connections); err != nil {
		return section{}, err
	}
	if _, err = e.awaitRequests(counted+connections, true); err != nil {
		return section{}, err
	}
	after, err := e.account()
	if err != nil {
		return section{}, err
	}

	s := section{title: "The BPF programs"}
	t := table{header: []string{"program", "variant", ">hits, keep-alive", ">mean", ">hits, new connections", ">mean"}}
	slowest := figure{what: "slowest program but the return of a handler, mean", aim: "≤ 300 ns"}
	handler := figure{what: "program at the return of a handler, mean", aim: "≤ 800 ns"}
	var worst, worstReturn float64
	for _, m := range after.metrics[names.ProbeInfo.Full()].GetMetric() {
		probe, program := labelOf(m, "probe"), labelOf(m, "program")
		which := bpfstats.Named(probe, program)
		kept, keptMean := runs(before, between, which)
		fresh, freshMean := runs(between, after, which)
		t.add(probe+" "+program, "`"+labelOf(m, "variant")+"`", fmt.Sprintf("%.0f", kept), meanText(kept, keptMean), fmt.Sprintf("%.0f", fresh), meanText(fresh, freshMean))
		// A handful of runs is a matter of cold caches, not of the program.
		for _, one := range []struct{ hits, mean float64 }{{kept, keptMean}, {fresh, freshMean}} {
			switch {
			case one.hits < 1000:
			case program == returnProgram:
				worstReturn = max(worstReturn, one.mean)
				handler.measured = nanoseconds(worstReturn)
			case one.mean > worst:
				worst = one.mean
				slowest.measured = fmt.Sprintf("%s (%s %s)", nanoseconds(worst), probe, program)
			}
		}
	}
	own := labels{"service": helloService}
	perRequest := func(from, to account, name string, requests int) float64 {
		return (to.metrics.sum(name, own) - from.metrics.sum(name, own)) / float64(requests)
	}
	const hits, overhead = "tcpslo_probe_service_hits_total", "tcpslo_probe_overhead_seconds_total"
	trap := after.metrics.sum(names.UprobeTrap.Full(), nil)
	s.figures = []figure{
		{"uprobe hits of a keep-alive HTTP/1 request", fmt.Sprintf("%.2f", perRequest(before, between, hits, b.requests)), "2.00"},
		{"uprobe hits of a request with a connection of its own", fmt.Sprintf("%.2f", perRequest(between, after, hits, connections)), "3.00"},
		{"trap of a uprobe, `tcpslo_uprobe_trap_seconds`", nanoseconds(trap), ""},
		{"traps and programs of a keep-alive request, `tcpslo_probe_overhead_seconds_total`", microseconds(perRequest(before, between, overhead, b.requests)), ""},
		slowest, handler,
	}
	s.body = t.markdown() + fmt.Sprintf("\nThe kernel's own statistics (`BPF_ENABLE_STATS`), which include what its clock takes to be read.\n"+
		"%d requests over %d keep-alive connections, then %d requests with a connection each. Programs at kernel hooks run for\n"+
		"everything on the machine, so their hits include those of other processes.\n", b.requests, loadConnections, connections)
	return s, nil
}

// account is what the exporter and the kernel say of the exporter's programs.
type account struct {
	metrics exposition
	kernel  map[bpfstats.Program]bpfstats.Stats
}

func (e *exporter) account() (account, error) {
	metrics, err := e.metrics()
	if err != nil {
		return account{}, err
	}
	kernel, err := bpfstats.Read(e.PID)
	return account{metrics, kernel}, err
}

// runs is how often a program has run between two accounts, and for how many seconds
// on average.
func runs(from, to account, which bpfstats.Program) (hits, mean float64) {
	hits = float64(to.kernel[which].Runs - from.kernel[which].Runs)
	return hits, (to.kernel[which].Time - from.kernel[which].Time).Seconds() / hits
}

func meanText(hits, mean float64) string {
	if hits == 0 {
		return "–"
	}
	return nanoseconds(mean)
}
