// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// gate holds the handlers of GET /wait until GET /-/release.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

var waiting = gate{open: make(chan struct{})}

func (g *gate) opened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// release lets go all that wait now.
func (g *gate) release(http.ResponseWriter, *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
	g.open = make(chan struct{})
}

// wait answers the status in the query parameter answer once it is released. If net/http
// cancels the request's context before, it answers the one in gone instead, or panics if
// that is the word panic: the status tells which of them it was.
func wait(w http.ResponseWriter, r *http.Request) string {
	status := r.URL.Query().Get("answer")
	select {
	case <-waiting.opened():
	case <-r.Context().Done():
		status = r.URL.Query().Get("gone")
		// net/http notes that the client has gone after it has cancelled the context, and of a
		// TLS client the FIN may not be here yet: in that moment nothing tells it.
		time.Sleep(goneLinger)
	}
	if status == "panic" {
		return panics(w, r)
	}
	code, err := strconv.Atoi(status)
	if err != nil || code < 200 || code > 999 {
		http.Error(w, "answer and gone must be 200 to 999, or gone the word panic", http.StatusBadRequest)
		return "400"
	}
	w.WriteHeader(code)
	return status
}
