// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newStore is a store whose windows are those of the clock of a test.
func newStore(limit int) *Store {
	s := NewStore(limit)
	s.window = testWindow
	return s
}

// began makes the first window begin with the tests, so that none of them begins in one window and
// ends in the next. The clock of a synctest bubble begins long before, with a window.
var began = time.Now()

func testWindow() uint64 {
	since := time.Since(began)
	if since < 0 {
		since = time.Duration(time.Now().UnixNano())
	}
	return uint64(since / windowLength)
}

func slow(service string, d time.Duration) Request {
	return Request{ID: fmt.Sprintf("%s-%d", service, d), Service: service, Started: time.Now().Add(-d), Duration: d, Slow: true, Window: testWindow()}
}

func ordinary(service string, number int) Request {
	return Request{
		ID: fmt.Sprintf("%s-%d", service, number), Service: service, Started: time.Now(), Goroutine: uint64(number),
		Tag: rand.Uint32(), Window: testWindow(),
	}
}

func ids(requests []Request) []string {
	var all []string
	for _, r := range requests {
		all = append(all, r.ID)
	}
	return all
}

func TestStore_keeps_exactly_the_slowest_of_a_window(t *testing.T) {
	const limit, keeps = 120, 10 // 6 windows, half of each for the slowest
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := newStore(limit)
		var all []Request
		for i := range 1000 {
			r := slow("checkout", time.Duration(random.IntN(1e9)))
			r.ID = fmt.Sprintf("%03d", i)
			all = append(all, r)
			s.Add(r)
		}
		slices.SortStableFunc(all, func(a, b Request) int { return cmp.Compare(b.Duration, a.Duration) })
		if got, want := ids(s.Find(Query{})), ids(all[:keeps]); !slices.Equal(got, want) {
			t.Fatalf("with seed %d\n%v are kept, want\n%v", seed, got, want)
		}
	}
}

// share takes away from the whole list, one by one, what a full room has no place for.
func share(all []Request, room int) []Request {
	kept := slices.SortedFunc(slices.Values(all), func(a, b Request) int { return cmp.Compare(a.Duration, b.Duration) })
	for len(kept) > room {
		held := map[string]int{}
		most := 0
		for _, r := range kept {
			held[r.Service]++
			most = max(most, held[r.Service])
		}
		first := slices.IndexFunc(kept, func(r Request) bool { return held[r.Service] == most })
		kept = slices.Delete(kept, first, first+1)
	}
	slices.Reverse(kept)
	return kept
}

func TestStore_shares_its_room_fairly_among_services_whatever_the_order_of_requests(t *testing.T) {
	const room = 21 // of 6 windows, 42 each
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		var all []Request
		for service := range 1 + random.IntN(30) { // more services than places, too
			for range 1 + random.IntN(1<<random.IntN(7)) {
				all = append(all, slow(fmt.Sprint("service", service), time.Duration(random.Uint32())))
			}
		}
		s := newStore(6 * 2 * room)
		for _, r := range all {
			s.Add(r)
		}
		if got, want := ids(s.Find(Query{})), ids(share(all, room)); !slices.Equal(got, want) {
			t.Fatalf("with seed %d\n%v are kept, want\n%v", seed, got, want)
		}
		if n := len(s.windows[0].slowest.services); n > room {
			t.Fatalf("with seed %d, %d services are remembered for %d places", seed, n, room)
		}
	}
}

func TestStore_keeps_the_slow_requests_of_a_quiet_service_beside_a_busy_one(t *testing.T) {
	s := newStore(120)
	for i := range 3 {
		s.Add(slow("quiet", time.Duration(i+1)))
	}
	for i := range 1000 {
		s.Add(slow("busy", time.Hour+time.Duration(i)))
	}
	if quiet, busy := len(s.Find(Query{Filter: Filter{Service: "quiet"}})), len(s.Find(Query{Filter: Filter{Service: "busy"}})); quiet != 3 || busy != 7 {
		t.Errorf("of 10 places, quiet holds %d and busy %d, want 3 and 7", quiet, busy)
	}
}

// A sample of k out of n is uniform if each is as often in it as any other:
// Σ(O−E)²/(E(1−k/n)) of many samples has a χ² distribution with n−1 degrees of
// freedom.
func TestStore_keeps_a_uniform_sample_of_what_was_not_slow(t *testing.T) {
	const n, limit, runs = 40, 96, 2000 // 8 places for a sample
	const chiSquare = 72.06             // 0.999 quantile with 39 degrees of freedom
	for name, others := range map[string]int{"alone": 0, "beside a service that takes half of the room": 50} {
		places := 8
		if others > 0 {
			places = 4
		}
		var kept [n]float64
		for seed := range uint64(runs) {
			s := newStore(limit)
			random := rand.New(rand.NewPCG(seed, 1))
			for i := range n + others {
				r := ordinary("checkout", i)
				if i >= n {
					r.Service = "others"
				}
				r.Tag = random.Uint32()
				s.Add(r)
			}
			sample := s.Find(Query{Filter: Filter{Service: "checkout"}})
			if len(sample) != places {
				t.Fatalf("%s: the sample has %d requests, want %d", name, len(sample), places)
			}
			for _, r := range sample {
				kept[r.Goroutine]++
			}
		}
		expected := float64(runs*places) / n
		sum := 0.0
		for _, observed := range kept {
			sum += (observed - expected) * (observed - expected) / (expected * (1 - float64(places)/n))
		}
		if sum > chiSquare {
			t.Errorf("%s: χ² is %.1f, more than %.1f: each of %d should be in %.0f samples, they are in %v", name, sum, chiSquare, n, expected, kept)
		}
	}
}

func TestStore_forgets_a_window_after_an_hour_and_lets_none_push_out_another(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(120) // 10 places for the slowest of each window
		minute := 0
		kept := func(want int) {
			t.Helper()
			if got := len(s.Find(Query{})); got != want {
				t.Errorf("in minute %d, %d requests are kept, want %d", minute, got, want)
			}
		}
		for ; minute < 300; minute++ {
			for i := range 3 { // each slower than all before it
				s.Add(slow("checkout", time.Duration(3*minute+i)))
			}
			kept(min(3*(minute%10+1), 10) + 10*min(minute/10, 5))
			time.Sleep(time.Minute)
		}
		for _, want := range []int{50, 40, 30, 20, 10, 0, 0} {
			kept(want)
			minute += 9
			time.Sleep(9 * time.Minute)
			kept(want)
			minute++
			time.Sleep(time.Minute)
		}
		s.Add(slow("checkout", 1))
		kept(1)
	})
}

func TestStore_never_holds_more_than_its_limit_and_uses_all_of_a_window(t *testing.T) {
	for _, c := range []struct{ limit, window, all int }{
		{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 2, 4}, {5, 2, 4}, {11, 2, 10}, {12, 2, 12}, {100, 16, 96}, {1000, 166, 996},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStore(c.limit)
			for window := range 2 * windows {
				var adding sync.WaitGroup
				for worker := range 8 {
					adding.Go(func() {
						for i := range 100 {
							s.Add(slow("slow", time.Duration(1000*worker+i)))
							s.Add(ordinary(fmt.Sprint("ordinary", i%3), i))
							if i%20 > 0 {
								continue
							}
							if held := len(s.Find(Query{})); held > c.limit {
								t.Errorf("with a limit of %d, %d are held", c.limit, held)
							}
						}
					})
				}
				adding.Wait()
				if held := len(s.Find(Query{})); window == 0 && held != c.window || window >= windows && held != c.all {
					t.Errorf("with a limit of %d, %d are held after %d windows, want %d in one and %d in all", c.limit, held, window+1, c.window, c.all)
				}
				time.Sleep(windowLength)
			}
		})
	}
}

func TestStore_keeps_the_slowest_of_what_many_goroutines_add(t *testing.T) {
	s := newStore(1200)
	var adding sync.WaitGroup
	for worker := range 8 {
		adding.Go(func() {
			for i := range 500 {
				s.Add(slow("checkout", time.Duration(8*i+worker)))
			}
		})
	}
	adding.Wait()
	kept := s.Find(Query{})
	if len(kept) != 100 {
		t.Fatalf("%d are kept, want 100", len(kept))
	}
	for i, r := range kept {
		if want := time.Duration(8*500 - 1 - i); r.Duration != want {
			t.Errorf("number %d took %d, want %d", i, r.Duration, want)
		}
	}
}

func TestStore_begins_anew_with_another_limit_and_goes_on_with_the_same(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(120)
		subscription := s.Subscribe(Filter{})
		for _, step := range []struct{ limit, before, after int }{{120, 10, 10}, {24, 0, 2}, {1, 0, 1}, {0, 0, 0}, {240, 0, 20}} {
			time.Sleep(7 * windowLength / 2) // before an hour is over and after
			for i := range 30 {
				s.Add(slow("checkout", time.Duration(i)))
				<-subscription.Requests()
			}
			if step.limit == 120 {
				time.Sleep(windowLength)
			}
			s.SetLimit(step.limit)
			if held := len(s.Find(Query{})); held != step.before {
				t.Errorf("%d are held when the limit becomes %d, want %d", held, step.limit, step.before)
			}
			for i := range 30 {
				s.Add(slow("inventory", time.Duration(i)))
				<-subscription.Requests()
			}
			if held := len(s.Find(Query{Filter: Filter{Service: "inventory"}})); held != step.after {
				t.Errorf("%d are held with a limit of %d, want %d", held, step.limit, step.after)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	s := newStore(1000)
	r := full
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Duration = time.Duration(i * 7919 % 1_000_003)
		r.Slow = i%2 == 0
		s.Add(r)
	}
}
