// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"context"
	"sync"
	"time"
)

const (
	// sharedFor is how long an answer serves others that ask the same: all panels of a dashboard ask at
	// about the same time, and Prometheus scrapes less often than that.
	sharedFor = 2 * time.Second
	// maxAtOnce is how many queries a server gets at a time; Prometheus works on 20.
	maxAtOnce = 16
)

// Query is what is asked: PromQL at the points of a grid, or with Instant at its only one.
type Query struct {
	Expr    string
	Grid    Grid
	Instant bool
}

// At is the grid of an instant query: one time, in whole seconds so that panels that ask at about the
// same time ask the same.
func At(t time.Time) Grid { return Grid{t.Truncate(time.Second).UTC(), time.Second, 1} }

// Shared asks each query once for all that ask it at about the same time.
type Shared struct {
	ask   func(context.Context, Query) (*Result, error)
	slots chan struct{}

	mu      sync.Mutex
	flights map[Query]*flight
	cells   int // of the answers that are kept
}

// flight is a query under way, or its answer.
type flight struct {
	done    chan struct{} // closed when the answer is there
	result  *Result
	err     error
	waiting int
	cancel  context.CancelFunc
}

// NewShared shares the answers to a client's queries.
func NewShared(client *Client) *Shared {
	return newShared(func(ctx context.Context, q Query) (*Result, error) {
		if q.Instant {
			return client.Instant(ctx, q.Expr, q.Grid.Start)
		}
		return client.Range(ctx, q.Expr, q.Grid)
	})
}

func newShared(ask func(context.Context, Query) (*Result, error)) *Shared {
	return &Shared{ask: ask, slots: make(chan struct{}, maxAtOnce), flights: map[Query]*flight{}}
}

// Ask returns the answer to a query. Others have the same Result: it must not be changed. An error goes to
// those that wait for the answer, and is not kept. The query ends when nobody waits any more.
func (s *Shared) Ask(ctx context.Context, q Query) (*Result, error) {
	s.mu.Lock()
	f := s.flights[q]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		var asking context.Context
		asking, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		s.flights[q] = f
		go s.fly(asking, q, f)
	}
	f.waiting++
	s.mu.Unlock()

	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		s.forget(q, f)
	}
	return nil, context.Cause(ctx)
}

func (s *Shared) fly(ctx context.Context, q Query, f *flight) {
	defer f.cancel()
	select {
	case s.slots <- struct{}{}:
		f.result, f.err = s.ask(ctx, q)
		<-s.slots
	case <-ctx.Done():
		f.err = context.Cause(ctx)
	}
	cells := 0
	if f.err == nil {
		cells = len(f.result.Series) * q.Grid.Points
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(f.done)
	if f.err != nil || s.cells+cells > maxCells {
		s.forget(q, f)
		return
	}
	s.cells += cells
	time.AfterFunc(sharedFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cells -= cells
		s.forget(q, f)
	})
}

// forget lets the next that asks have a new answer.
func (s *Shared) forget(q Query, f *flight) {
	if s.flights[q] == f {
		delete(s.flights, q)
	}
}
