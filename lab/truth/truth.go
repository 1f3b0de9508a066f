// SPDX-License-Identifier: Apache-2.0

// Package truth drives lab/server with a plan that can be repeated and keeps its own
// books of what it sent and what came back on the wire. What an exporter says
// about the server is compared with these books.
//
// Nothing is ever retried: HTTP/1 goes over connections that this package opens
// and reads itself, and an HTTP/2 request that was written twice is an error.
package truth

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// A Key says of a request what an exporter's labels say.
type Key struct {
	Method string
	// Path is the route template as labelled by Plan.Label.
	Path string
	// Status is the final status on the wire in three digits; "hijacked" for a
	// connection taken over with 101; "panic" for a connection (HTTP/2: stream)
	// that the server cut instead of answering.
	Status string
}

// A Tally is what became of the requests with one key.
type Tally struct {
	N uint64
	// Seconds is the sum, over these requests, of the time from before the first byte
	// was written until after the last one was read; opening a connection is
	// not in it. The server's time in the handler is within it, except for
	// GET /gone, whose handler outlives the client, and GET /hijack.
	Seconds float64
}

// Counts are the books of one run.
type Counts map[Key]Tally

// Total returns the number of all requests.
func (c Counts) Total() uint64 {
	var total uint64
	for _, tally := range c {
		total += tally.N
	}
	return total
}

// Differences names every key whose number of requests is not the same in both,
// one sentence each, in order. Seconds are not compared.
func (c Counts) Differences(other Counts) []string {
	var lines []string
	for key, tally := range c {
		if got := other[key].N; got != tally.N {
			lines = append(lines, fmt.Sprintf("%s %q %s: %d and %d", key.Method, key.Path, key.Status, tally.N, got))
		}
	}
	for key, tally := range other {
		if _, both := c[key]; !both && tally.N != 0 {
			lines = append(lines, fmt.Sprintf("%s %q %s: 0 and %d", key.Method, key.Path, key.Status, tally.N))
		}
	}
	sort.Strings(lines)
	return lines
}

func (c Counts) add(key Key, took time.Duration) {
	tally := c[key]
	tally.N++
	tally.Seconds += took.Seconds()
	c[key] = tally
}

func (c Counts) merge(other Counts) {
	for key, tally := range other {
		sum := c[key]
		sum.N += tally.N
		sum.Seconds += tally.Seconds
		c[key] = sum
	}
}

// A Result is what one run saw.
type Result struct {
	Counts Counts
	// Connections were opened, TLS handshake included, all of them by this run.
	Connections uint64
	// Informational responses (1xx except 101) came before final ones.
	Informational uint64
}

// Run sends the plan's requests to the target and returns the books. The first
// response that cannot be accounted for ends the run with an error: a lost
// connection counts as "panic" only on a route that panics.
//
// The target is one of
//
//	http://127.0.0.1:8080     HTTP/1.1, one keep-alive connection for each worker
//	https://127.0.0.1:8443    the same in TLS
//	unix:/run/lab.sock        the same over a Unix socket
//	h2://127.0.0.1:8443       HTTP/2 in TLS, one connection for all workers
//	h2c://127.0.0.1:8080      HTTP/2 without TLS, one connection for all workers
//
// Certificates are not verified. The same plan sends the same requests in the same
// order on each worker's connection.
func Run(ctx context.Context, target string, plan Plan) (*Result, error) {
	requests, err := plan.requests()
	if err != nil {
		return nil, err
	}
	destination, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var seen wire
	newClient := destination.clients(ctx, &seen)
	team := make([]*worker, min(max(plan.Concurrency, 1), len(requests)))
	for w := range team {
		team[w] = &worker{client: newClient(), label: plan.label(), book: Counts{}}
		defer team[w].client.close()
	}
	// The first request goes alone: HTTP/2 then has the one connection that all
	// workers share, instead of one dialled by each.
	if err := team[0].send(ctx, requests[0]); err != nil {
		cancel(err)
	}
	var running sync.WaitGroup
	for w := range team {
		running.Go(func() {
			for i := w; i < len(requests); i += len(team) {
				if i == 0 {
					continue
				}
				if err := team[w].send(ctx, requests[i]); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	result := &Result{Counts: Counts{}, Connections: seen.connections.Load(), Informational: seen.informational.Load()}
	for _, w := range team {
		result.Counts.merge(w.book)
	}
	return result, nil
}

// A worker sends its share of the requests, one after the other.
type worker struct {
	client client
	label  func(Request) string
	book   Counts
}

func (w *worker) send(ctx context.Context, r request) error {
	status, took, err := w.client.exchange(ctx, r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	w.book.add(Key{r.Method, w.label(r.Request), status}, took)
	return nil
}

// A client carries out one request at a time and says how it ended on the wire.
type client interface {
	exchange(ctx context.Context, r request) (status string, took time.Duration, err error)
	close()
}

// wire is what all clients of a run count together.
type wire struct {
	connections, informational atomic.Uint64
}
