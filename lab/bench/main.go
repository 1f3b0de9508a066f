// SPDX-License-Identifier: Apache-2.0

// Command bench measures what observing costs, and prints it in Markdown:
//
//	sudo go run ./lab/bench                         everything, a few minutes
//	sudo go run ./lab/bench -only=sites,programs    some parts
//	sudo go run ./lab/bench -o docs/benchmarks.md   into a file
//
// The parts, one file each:
//
//	sites       what one hit of a uprobe costs, by the instruction that it stands on
//	server      a Go server with and without the exporter
//	timeline    a Go server with the exporter, the collector timeline on and off
//	collectors  what each collector costs a request
//	host        the whole machine with and without the exporter, at packets and connections
//	programs    how long each BPF program runs
//	scrape      time, memory and idle processor time with 1,000 listeners and 1,000 histograms
//	start       start to everything attached, and SIGTERM to end, with ten services
//	sockets     how the count of sockets grows with 10 thousand, 100 thousand and a million
//	packages    the Go benchmarks of a scrape, without sockets and processes around them
//	rules       what SLO rules cost a Prometheus with 30 days of data, beside those that sloth and pyrra make
//
// What is compared is compared in rounds that alternate, with the same work in
// each, and told as medians: a machine that does other things, too, then disturbs
// both sides alike. Nothing passes or fails here.
//
// It needs root and go, and uses wrk as a second source of load if it is there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only     []string
	rounds   int
	requests int
	idle     time.Duration
	exporter string
	output   string
}

// part is one subject. It measures with what was built and adds to the page.
type part struct {
	name string
	run  func(context.Context, *bench) (section, error)
}

var parts = []part{
	{"sites", sites}, {"server", server}, {"timeline", timelineOnOff}, {"collectors", collectors}, {"host", wholeHost}, {"programs", programs}, {"scrape", scrape}, {"start", start}, {"sockets", sockets}, {"packages", packages}, {"rules", rules},
}

// bench is what the parts share.
type bench struct {
	options
	tools tools
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := fs.String("only", strings.Join(names, ","), "`parts` to run, comma-separated")
	fs.IntVar(&o.rounds, "rounds", 12, "`number` of alternating rounds of each comparison")
	fs.IntVar(&o.requests, "requests", 20_000, "`number` of requests in a round")
	fs.DurationVar(&o.idle, "idle", 10*time.Second, "how `long` to watch the idle exporter")
	fs.StringVar(&o.exporter, "exporter", "", "measure this `executable` instead of one built from here, to compare two versions")
	fs.StringVar(&o.output, "o", "", "write the page to this `file` instead of standard output")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.rounds < 1 || o.requests < loadConnections || o.idle <= 0 {
		return o, fmt.Errorf("want at least 1 round, %d requests and some time to idle", loadConnections)
	}
	o.only = strings.Split(*only, ",")
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("unknown part %q, want some of %s", name, strings.Join(names, ","))
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, to load BPF programs (run: sudo make bench)")
	}
	progress("building")
	built, err := build(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(built.dir)) }()
	if o.exporter != "" {
		built.exporter = o.exporter
	}
	b := &bench{o, built}
	page, err := newPage(strings.Join(append([]string{"go run ./lab/bench"}, args...), " "))
	if err != nil {
		return err
	}
	for _, p := range parts {
		if !slices.Contains(o.only, p.name) {
			continue
		}
		load, err := loadAverage()
		if err != nil {
			return err
		}
		progress("%s (load average %s)", p.name, load)
		s, err := p.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		s.part, s.load = p.name, load
		page.sections = append(page.sections, s)
	}
	if o.output == "" {
		return page.write(os.Stdout)
	}
	return page.writeFile(o.output)
}

// progress tells a person who waits what is going on.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
