// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/command"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/lab/child"
)

// collectors measures what each collector alone costs a request to a Go server
// over a keep-alive connection: processor time of the whole machine, client
// included and the exporter left out, without the exporter and with one that has nothing else on.
func collectors(ctx context.Context, b *bench) (section, error) {
	hello, err := child.StartServer(ctx, b.tools.hello)
	if err != nil {
		return section{}, err
	}
	defer hello.Stop() //nolint:errcheck // measured is what happened before
	names, err := collectorSets()
	if err != nil {
		return section{}, err
	}
	each := map[string][]float64{}
	for round := range b.rounds {
		for i := range len(names) + 1 {
			name := "" // no exporter
			if at := (i + round) % (len(names) + 1); at > 0 {
				name = names[at-1]
			}
			cost, err := requestWith(ctx, b, hello, name)
			if err != nil {
				return section{}, fmt.Errorf("collector %q: %w", name, err)
			}
			each[name] = append(each[name], cost)
		}
	}
	off := median(each[""])
	t := table{header: []string{"collectors", ">a request", ">more than without", ">on ÷ off"}}
	t.add("none, no exporter", microseconds(off), "", "")
	for _, name := range names {
		cost := median(each[name])
		t.add(name, microseconds(cost), microseconds(cost-off), fmt.Sprintf("%.3f", cost/off))
	}
	return section{
		title: "What each collector costs a request",
		body: t.markdown() + fmt.Sprintf("\nProcessor time of the whole machine, client included, exporter left out, for each of %d requests over %d keep-alive connections; medians of\n"+
			"%d rounds in which the collectors take turns, each alone and in the end all, without and with those that are off by default. Switch off what you don't need: `collectors: {NAME: false}`.\n",
			b.requests, loadConnections, b.rounds),
	}, nil
}

func requestWith(ctx context.Context, b *bench, hello *child.Server, collector string) (cost float64, err error) {
	own := func() (time.Duration, error) { return 0, nil }
	if collector != "" {
		file := filepath.Join(b.tools.dir, "collectors.yml")
		if err := os.WriteFile(file, []byte(onlyCollector(collector)), 0o600); err != nil {
			return 0, err
		}
		e, err := startExporter(ctx, b.tools.exporter, "--config.file="+file)
		if err != nil {
			return 0, err
		}
		defer func() { err = e.finish(err) }()
		own = func() (time.Duration, error) { return processorTime(e.PID) }
	}
	url := "http://" + hello.Listen[0] + helloPath
	if _, err := b.tools.runLoad(ctx, url, warmUp, loadConnections); err != nil {
		return 0, err
	}
	// What the exporter itself does after its start is no cost of a request.
	ownBefore, err := own()
	if err != nil {
		return 0, err
	}
	before, err := machineTime()
	if err != nil {
		return 0, err
	}
	if _, err := b.tools.runLoad(ctx, url, b.requests, loadConnections); err != nil {
		return 0, err
	}
	after, err := machineTime()
	if err != nil {
		return 0, err
	}
	ownAfter, err := own()
	return (after - before - ownAfter + ownBefore).Seconds() / float64(b.requests), err
}

// What is measured beside single collectors: all that are on by default, and one more.
const (
	all    = "all"
	allAnd = "all and "
)

// collectorSets names what is measured. A collector that is off by default needs others.
func collectorSets() ([]string, error) {
	names, more := command.Collectors(), []string{all}
	for _, builtin := range bpf.Probes() {
		d, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			return nil, err
		}
		if d.OptIn {
			names = slices.DeleteFunc(names, func(name string) bool { return name == d.Name })
			more = append(more, allAnd+d.Name)
		}
	}
	return append(names, more...), nil
}

// onlyCollector is a tcpslo.yml that leaves one collector on, or all.
func onlyCollector(name string) string {
	if another, ok := strings.CutPrefix(name, allAnd); ok {
		return "collectors: {" + another + ": true}\n"
	}
	var off []string
	for _, other := range command.Collectors() {
		if name != all && other != name {
			off = append(off, other+": false")
		}
	}
	return "collectors: {" + strings.Join(off, ", ") + "}\n"
}
