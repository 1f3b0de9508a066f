// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"sync"
	"testing"
	"time"
)

func TestSubscriber_that_stalls_loses_exactly_what_it_did_not_read_and_another_loses_nothing(t *testing.T) {
	const sent = 1000
	s := NewStore(0)
	stalled, reading, choosy := s.Subscribe(Filter{}), s.Subscribe(Filter{}), s.Subscribe(Filter{SlowerThan: 990})
	for i := range sent {
		s.Add(slow("checkout", time.Duration(i)))
		if r := <-reading.Requests(); r.Duration != time.Duration(i) {
			t.Fatalf("request %d reads as %d", i, r.Duration)
		}
	}
	stalled.Cancel()
	choosy.Cancel()
	var read uint64
	for r := range stalled.Requests() {
		if r.Duration != time.Duration(read) {
			t.Errorf("number %d reads as %d", read, r.Duration)
		}
		read++
	}
	var chosen int
	for range choosy.Requests() {
		chosen++
	}
	if stalled.Lost() != sent-read || read != queueLength || reading.Lost() != 0 || choosy.Lost() != 0 || chosen != 9 {
		t.Errorf("of %d, the stalled subscriber read %d and lost %d; the reading one lost %d; the choosy one got %d of 9 and lost %d", sent, read, stalled.Lost(), reading.Lost(), chosen, choosy.Lost())
	}
	if s.Lost() != stalled.Lost() {
		t.Errorf("the store says that %d are lost, the subscriber %d", s.Lost(), stalled.Lost())
	}
}

func TestSubscription_that_is_canceled_gets_and_loses_nothing_more(t *testing.T) {
	s := NewStore(0)
	subscription := s.Subscribe(Filter{})
	s.Add(slow("checkout", 1))
	subscription.Cancel()
	subscription.Cancel()
	for range 2 * queueLength {
		s.Add(slow("checkout", 2))
	}
	if r, open := <-subscription.Requests(); !open || r.Duration != 1 {
		t.Errorf("got %v (%v), want what came before", r, open)
	}
	if r, open := <-subscription.Requests(); open {
		t.Errorf("got %v after it was canceled", r)
	}
	if s.Lost() != 0 || len(s.subscriptions) != 0 {
		t.Errorf("%d are lost and %d subscribe, want none", s.Lost(), len(s.subscriptions))
	}
}

func TestSubscribers_that_come_and_go_get_or_lose_each_request_once(t *testing.T) {
	const workers, each = 4, 2000
	s := NewStore(100)
	subscription := s.Subscribe(Filter{Service: "checkout"})
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range each {
				s.Add(slow("checkout", time.Duration(i)))
				s.Add(slow("inventory", time.Duration(i)))
				other := s.Subscribe(Filter{})
				s.Find(Query{Limit: 1})
				other.Cancel()
			}
		})
	}
	got := make(chan uint64)
	go func() {
		var n uint64
		for range subscription.Requests() {
			n++
		}
		got <- n
	}()
	all.Wait()
	subscription.Cancel()
	if n := <-got; n+subscription.Lost() != workers*each {
		t.Errorf("%d came and %d were lost, want %d together", n, subscription.Lost(), workers*each)
	}
}
