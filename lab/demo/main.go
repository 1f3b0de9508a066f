// SPDX-License-Identifier: Apache-2.0

// Command demo shows in fifteen seconds what the exporter sees. It starts two
// ordinary Go services and the exporter, sends a bounded load, lets an accept
// queue overflow, and prints what was counted beside what the client and the
// kernel say themselves.
//
//	sudo go run ./lab/demo
//
// All of it runs in a network namespace of its own: it takes no port of the
// machine, and the kernel's own counters there are moved by nothing else. It
// needs root and go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; all processes are ended")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run builds, then enters a network namespace by executing itself there, then
// demonstrates.
func run(ctx context.Context, out io.Writer) (err error) {
	dir := os.Getenv(builtEnv)
	if dir == "" {
		return buildAndEnter(ctx, out)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := bringUpLoopback(); err != nil {
		return err
	}
	return demonstrate(ctx, out, dir)
}

// The two services. They are copies of one program, lab/server, because a
// service is named after the file that it executes.
const (
	busyService  = "checkout"  // answers requests, some of them late or badly
	stuckService = "inventory" // listens with a backlog of 1 and never accepts
)

func demonstrate(ctx context.Context, out io.Writer, dir string) error {
	say := newSteps(out)
	busy, err := child.StartServer(ctx, filepath.Join(dir, busyService), "-listen", "127.0.0.1:8080")
	if err != nil {
		return err
	}
	defer busy.Stop() //nolint:errcheck // shown is what happened before
	stuck, err := child.StartServer(ctx, filepath.Join(dir, stuckService), "-listen", "127.0.0.1:8081", "-backlog", "1", "-no-accept")
	if err != nil {
		return err
	}
	defer stuck.Stop() //nolint:errcheck // shown is what happened before
	say.done("started %s (%s) and %s (%s: backlog 1, never accepts)", busyService, busy.Listen[0], stuckService, stuck.Listen[0])

	exporter, err := child.StartExporter(ctx, filepath.Join(dir, "tcpslo_exporter"))
	if err != nil {
		return err
	}
	defer exporter.Stop() //nolint:errcheck // shown is what happened before
	say.done("started the exporter: it found both, unchanged and running")

	dropsBefore, err := listenDrops()
	if err != nil {
		return err
	}
	overflow := flood(ctx, stuck.Listen[0], floodConnections)
	truth, err := load(ctx, busy.Listen[0])
	if err != nil {
		return err
	}
	// No connection that still tries may move the kernel's counters while they are
	// read.
	overflow.close()
	say.done("sent %s requests to %s and opened %d connections to %s", thousands(truth.total()), busyService, floodConnections, stuckService)
	// The last response was read a moment before its handler's caller went on.
	if err := sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	metrics, err := scrape(ctx, exporter.Address)
	if err != nil {
		return err
	}
	dropsAfter, err := listenDrops()
	if err != nil {
		return err
	}
	say.done("scraped %d series", metrics.size())
	return report{metrics: metrics, truth: truth, kernelDrops: dropsAfter - dropsBefore, style: styleOf(out)}.print(out)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
