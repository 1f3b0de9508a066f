// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// stats counts what the handlers say they did. It wraps each handler rather than
// the ResponseWriter, so that the handlers get the writer that net/http made. The
// pages about the server itself are not counted.
type stats struct {
	mu       sync.Mutex
	inFlight int
	requests map[statsKey]statsValue
}

type statsKey struct{ method, path, status string }

type statsValue struct {
	count uint64
	took  time.Duration
}

func newStats() *stats { return &stats{requests: map[statsKey]statsValue{}} }

// counted returns the route with accounting around its handler. A handler that
// does not return has panicked.
func (s *stats) counted(rt route) route {
	inner := rt.handle
	rt.handle = func(w http.ResponseWriter, r *http.Request) (status string) {
		s.begin()
		start := time.Now()
		status = "panic"
		defer func() { s.end(statsKey{r.Method, rt.path, status}, time.Since(start)) }()
		status = inner(w, r)
		return status
	}
	return rt
}

// countUnmatched counts, under the path "", the requests that no route serves. Only
// these get a ResponseWriter of its own, to learn the status that the router chose.
func (s *stats) countUnmatched(table []route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := find(table, r.Method, r.URL.Path); ok {
			next.ServeHTTP(w, r)
			return
		}
		s.begin()
		start := time.Now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		s.end(statsKey{r.Method, "", strconv.Itoa(recorder.status)}, time.Since(start))
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (s *stats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
}

func (s *stats) end(key statsKey, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	value := s.requests[key]
	value.count++
	value.took += took
	s.requests[key] = value
}

// ServeHTTP answers GET /-/stats. A request leaves in_flight in the same step in
// which it is counted: once in_flight is 0, the counts are complete.
func (s *stats) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	type row struct {
		Method  string  `json:"method"`
		Path    string  `json:"path"`
		Status  string  `json:"status"`
		Count   uint64  `json:"count"`
		Seconds float64 `json:"seconds"`
	}
	s.mu.Lock()
	inFlight, rows := s.inFlight, []row{}
	for key, value := range s.requests {
		rows = append(rows, row{key.method, key.path, key.status, value.count, value.took.Seconds()})
	}
	s.mu.Unlock()
	writeJSON(w, map[string]interface{}{"in_flight": inFlight, "requests": rows})
}
