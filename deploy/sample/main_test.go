// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

func TestWishes_are_a_thousand(t *testing.T) {
	have := map[string]int{}
	for n := range 1000 {
		method, path := wish(n)
		have[method+" "+path]++
	}
	for _, w := range wishes {
		if got := have[w.method+" "+w.path]; got != w.often {
			t.Errorf("%s %s comes %d times, want %d", w.method, w.path, got, w.often)
		}
	}
}

func TestCounts_are_those_of_the_service(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	want, served := map[string]int{}, 0
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		served++
		if served == 100 {
			stop()
		}
		if served%10 == 0 {
			want["error"]++
			w.(http.Flusher).Flush() // a request that has an answer is not sent again
			panic(http.ErrAbortHandler)
		}
		status := 200 + served%3
		want[strconv.Itoa(status)]++
		w.WriteHeader(status)
	}))
	defer service.Close()
	if got := send(ctx, service.URL, 1000); !maps.Equal(got, want) {
		t.Errorf("got %v, the service counted %v", got, want)
	}
}
