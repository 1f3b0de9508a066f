// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var answer = &Result{Series: []Series{{Values: []float64{1}}}}

func TestAsk_of_the_same_by_many_at_once_is_one_query(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		s := newShared(func(context.Context, Query) (*Result, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			return answer, nil
		})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got, err := s.Ask(t.Context(), Query{Expr: "up", Grid: testGrid}); got != answer || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		all.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times, want once", asked.Load())
		}
		other := testGrid
		other.Points++
		for _, q := range []Query{{Expr: "up", Grid: other}, {Expr: "down", Grid: testGrid}, {Expr: "up", Grid: testGrid, Instant: true}} {
			s.Ask(t.Context(), q)
		}
		if asked.Load() != 4 {
			t.Errorf("asked %d times, want 3 more for 3 other queries", asked.Load())
		}
	})
}

func TestAsk_asks_anew_when_the_answer_is_old_and_keeps_nothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := newShared(func(context.Context, Query) (*Result, error) { asked++; return answer, nil })
		for after, want := range []int{0: 1, 1: 1, 2: 2} {
			s.Ask(t.Context(), Query{Expr: "up", Grid: testGrid})
			if synctest.Wait(); asked != want {
				t.Errorf("after %d s: asked %d times, want %d", after, asked, want)
			}
			time.Sleep(time.Second + time.Millisecond)
		}
		time.Sleep(sharedFor)
		if synctest.Wait(); len(s.flights) != 0 || s.cells != 0 {
			t.Errorf("%d answers and %d cells are kept", len(s.flights), s.cells)
		}
	})
}

func TestAsk_keeps_no_error_and_no_answer_that_there_is_no_room_for(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		large := &Result{Series: make([]Series, maxCells/2/testGrid.Points+1)}
		s := newShared(func(_ context.Context, q Query) (*Result, error) {
			asked++
			if q.Expr == "bad" {
				return nil, errors.New("bad")
			}
			return large, nil
		})
		for _, expr := range []string{"bad", "bad", "large", "large", "larger", "larger"} {
			if _, err := s.Ask(t.Context(), Query{Expr: expr, Grid: testGrid}); (err != nil) != (expr == "bad") {
				t.Errorf("%s: got %v", expr, err)
			}
		}
		if asked != 5 {
			t.Errorf("asked %d times, want 5: the first large answer is kept, no error, no second one", asked)
		}
	})
}

func TestAsk_ends_a_query_that_nobody_waits_for_and_no_other(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		s := newShared(func(ctx context.Context, _ Query) (*Result, error) {
			<-ctx.Done()
			ended.Add(1)
			return nil, ctx.Err()
		})
		first, leave := context.WithCancel(t.Context())
		second, leaveToo := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for _, ctx := range []context.Context{first, second} {
			all.Go(func() {
				if _, err := s.Ask(ctx, Query{Expr: "up"}); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		if ended.Load() != 0 {
			t.Error("the query ended while one waited for it")
		}
		leaveToo()
		all.Wait()
		synctest.Wait()
		if ended.Load() != 1 || len(s.flights) != 0 {
			t.Errorf("%d queries ended and %d are left, want 1 and 0", ended.Load(), len(s.flights))
		}
	})
}

func TestAsk_sends_no_more_than_a_bounded_number_at_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		s := newShared(func(context.Context, Query) (*Result, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return answer, nil
		})
		var all sync.WaitGroup
		for i := range 3 * maxAtOnce {
			all.Go(func() { s.Ask(t.Context(), Query{Expr: "up", Grid: Grid{Points: i}}) })
		}
		all.Wait()
		if most.Load() != maxAtOnce {
			t.Errorf("%d at once, want %d", most.Load(), maxAtOnce)
		}
	})
}
