// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Requests are kept for 50 to 60 minutes, by windows of ten. With one window alone
// either the slowest request of the day would hide what happens now, or all would be
// forgotten at once when it ends; ten minutes are long enough for a deployment
// and short enough that a burst doesn't push out the hour before it.
const (
	windows      = 6
	windowLength = 10 * time.Minute
)

// mostSampled is how many requests of a service are in the sample of a window: half as many
// as the kernel is sure to tell of (is_in_sample() of bpf/http.bpf.c).
const mostSampled = 32

// Store keeps the slowest requests and a uniform sample of the others, and passes
// each on to those who have subscribed. Goroutines may share it.
type Store struct {
	// window is the number of the present window, as in Request.Window.
	window func() uint64

	lock          sync.Mutex
	limit         int
	windows       []window
	subscriptions map[*Subscription]struct{}
	lost          uint64
}

// window is what is kept of ten minutes. Half of the room is for slow requests,
// ranked by duration. The other half is for a sample of those that were not slow,
// ranked by their tags, which are random: of any set of requests, those with the lowest
// random numbers are a uniform sample without replacement (Knuth, The Art of Computer
// Programming, 3.4.2), and it stays uniform when its highest go.
type window struct {
	number  uint64
	slowest *ranking
	sample  *ranking
}

// NewStore returns a store of at most limit requests, which take about 500 bytes each.
// 0 keeps none; subscribers get them nevertheless.
func NewStore(limit int) *Store {
	s := &Store{window: PresentWindow, limit: -1, subscriptions: map[*Subscription]struct{}{}}
	s.SetLimit(limit)
	return s
}

// SetLimit changes how many requests are kept, for a configuration that has been
// reloaded. With another limit the store begins anew; subscriptions go on.
func (s *Store) SetLimit(limit int) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if limit == s.limit {
		return
	}
	s.limit = limit
	// Fewer windows rather than windows with no room for one of each.
	s.windows = make([]window, min(max(limit/2, 1), windows))
	room := limit / len(s.windows)
	for i := range s.windows {
		s.windows[i].clear(0, room-room/2, room/2)
	}
}

func (w *window) clear(number uint64, slowest, sample int) {
	*w = window{number, newRanking(slowest, slowest), newRanking(sample, min(sample, mostSampled))}
}

// Add keeps the request if it is one of the slowest or of the sample of its window, and
// passes it on to subscribers. It doesn't wait. Nobody may change its stages afterwards.
func (s *Store) Add(request Request) {
	s.lock.Lock()
	defer s.lock.Unlock()
	w := &s.windows[request.Window%uint64(len(s.windows))]
	if w.number < request.Window {
		w.clear(request.Window, w.slowest.room, w.sample.room)
	}
	switch {
	case w.number > request.Window: // it is too old
	case request.Slow:
		w.slowest.add(&request, uint64(max(request.Duration, 0)))
	default:
		w.sample.add(&request, uint64(^request.Tag))
	}
	for subscription := range s.subscriptions {
		subscription.offer(request)
	}
}

// PresentWindow counts windows as the kernel does, by CLOCK_MONOTONIC: setting the clock
// of the machine neither keeps nor drops a request.
func PresentWindow() uint64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // every Linux has that clock
	}
	return uint64(now.Nano()) / uint64(windowLength)
}

// Find returns the requests that the query asks for, in its order. Nobody may change
// their stages.
func (s *Store) Find(q Query) []Request {
	found := s.matching(q)
	slices.SortFunc(found, func(a, b Request) int {
		if q.Order == Newest {
			return cmp.Or(b.Ended().Compare(a.Ended()), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(cmp.Compare(b.Duration, a.Duration), cmp.Compare(a.ID, b.ID))
	})
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found
}

func (s *Store) matching(q Query) []Request {
	found := []Request{}
	take := func(r *Request) {
		if q.matches(r) && (q.MaxAge == 0 || time.Since(r.Ended()) <= q.MaxAge) {
			found = append(found, *r)
		}
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, w := range s.windows {
		if w.number+uint64(len(s.windows)) > s.window() {
			w.slowest.each(take)
			w.sample.each(take)
		}
	}
	return found
}
