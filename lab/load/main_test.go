// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestThe_server_gets_as_many_requests_and_connections_as_asked_for(t *testing.T) {
	var requests, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusTeapot)
		}
		time.Sleep(time.Millisecond)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()

	start := time.Now()
	got, err := run(server.URL+"/path?query=1", 103, 4)
	elapsed := time.Since(start).Seconds()
	if err != nil {
		t.Fatal(err)
	}
	if requests.Load() != 103 || got.Requests != 103 {
		t.Errorf("the server got %d requests, %d reported, want 103", requests.Load(), got.Requests)
	}
	if connections.Load() != 4 || got.Connections != 4 {
		t.Errorf("the server got %d connections, %d reported, want 4", connections.Load(), got.Connections)
	}
	if got.Statuses["200"] != 93 || got.Statuses["418"] != 10 {
		t.Errorf("statuses are %v, want 93 of 200 and 10 of 418", got.Statuses)
	}
	if got.P50 < 0.001 || got.P99 < got.P50 || got.P99 > elapsed {
		t.Errorf("p50 %g and p99 %g: want 0.001 ≤ p50 ≤ p99 ≤ %g", got.P50, got.P99, elapsed)
	}
	if got.Seconds > elapsed || got.RPS*elapsed < 103 {
		t.Errorf("%g s at %g requests per second: want at most the %g s that it took", got.Seconds, got.RPS, elapsed)
	}
}

func TestPercentiles_are_the_nearest_rank(t *testing.T) {
	var values []time.Duration
	for i := 1; i <= 200; i++ {
		values = append(values, time.Duration(i))
	}
	for _, c := range []struct {
		n, p int
		want time.Duration
	}{{200, 50, 100}, {200, 99, 198}, {1, 99, 1}, {3, 50, 2}, {101, 99, 100}} {
		if got := percentile(values[:c.n], c.p); got != c.want {
			t.Errorf("percentile %d of 1 to %d is %d, want %d", c.p, c.n, got, c.want)
		}
	}
}

func TestA_run_that_cannot_be_done_is_an_error(t *testing.T) {
	closing := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer closing.Close()
	for _, c := range []struct {
		name, url, want string
		n, c            int
	}{
		{"a server that hangs up", closing.URL, "request 1 of a connection", 1, 1},
		{"a URL without a port", "http://localhost/", "want http://HOST:PORT/PATH", 1, 1},
		{"TLS", "https://localhost:1/", "want http://HOST:PORT/PATH", 1, 1},
		{"more connections than requests", closing.URL, "a request for each", 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := run(c.url, c.n, c.c); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}
