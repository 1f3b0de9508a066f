// SPDX-License-Identifier: Apache-2.0

package timeline

// queueLength is how many requests wait for one subscriber: enough for a pause of
// a consumer that keeps up, and 128 kB.
const queueLength = 256

// Subscription gets every request that its filter lets through, from when it was
// made. A subscriber who doesn't read loses those that its queue has no room for.
type Subscription struct {
	store  *Store
	filter Filter
	queue  chan Request
	lost   uint64
}

// Subscribe begins a subscription; the caller cancels it.
func (s *Store) Subscribe(filter Filter) *Subscription {
	subscription := &Subscription{store: s, filter: filter, queue: make(chan Request, queueLength)}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.subscriptions[subscription] = struct{}{}
	return subscription
}

// Requests are those that the subscription gets. The channel is closed when the
// subscription is canceled.
func (s *Subscription) Requests() <-chan Request { return s.queue }

// Lost is how many requests the queue had no room for.
func (s *Subscription) Lost() uint64 {
	s.store.lock.Lock()
	defer s.store.lock.Unlock()
	return s.lost
}

// Cancel ends the subscription. It may be called more than once.
func (s *Subscription) Cancel() {
	s.store.lock.Lock()
	defer s.store.lock.Unlock()
	if _, active := s.store.subscriptions[s]; active {
		delete(s.store.subscriptions, s)
		close(s.queue)
	}
}

// Lost is how many requests subscribers have lost, those included that are gone:
// tcpslo_lost_total{probe="timeline",reason="slow_consumer"}.
func (s *Store) Lost() uint64 {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.lost
}

// offer is called with the lock of the store.
func (s *Subscription) offer(request Request) {
	if !s.filter.matches(&request) {
		return
	}
	select {
	case s.queue <- request:
	default:
		s.lost++
		s.store.lost++
	}
}
