// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// maxStreams bounds what consumers can make the exporter hold: a stream takes a
	// goroutine, a connection and a queue.
	maxStreams = 32
	// keepAlive is how often a silent stream says that it is alive: proxies cut
	// connections that have been silent for a minute, and many sooner.
	keepAlive = 15 * time.Second
	// writeTimeout is how long a consumer may let a write wait.
	writeTimeout = 10 * time.Second
)

// API answers HTTP about the requests of a store.
type API struct {
	store   *Store
	streams chan struct{} // holds one for each stream that is open
}

// NewAPI returns the interface to a store.
func NewAPI(store *Store) *API {
	return &API{store, make(chan struct{}, maxStreams)}
}

// List answers GET /api/v1/requests.
func (a *API) List(w http.ResponseWriter, r *http.Request) {
	q, err := ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := json.MarshalIndent(map[string]any{"requests": a.store.Find(q)}, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

// Stream answers GET /api/v1/requests/stream by server-sent events, until the client
// goes or the request's context is done.
func (a *API) Stream(w http.ResponseWriter, r *http.Request) {
	filter, err := ParseFilter(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		http.Error(w, fmt.Sprintf("%d streams are open, which is all that there may be; close one, or ask /api/v1/requests", maxStreams), http.StatusServiceUnavailable)
		return
	}
	subscription := a.store.Subscribe(filter)
	defer subscription.Cancel()
	s := stream{w, http.NewResponseController(w)}
	if err := s.control.SetWriteDeadline(time.Time{}); err != nil {
		http.Error(w, "this connection cannot carry a stream: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if s.begin() == nil && r.Method != http.MethodHead {
		_ = s.pass(r, subscription) // the client is gone and nobody is left to tell
	}
}

// stream writes events to one client.
type stream struct {
	http.ResponseWriter
	control *http.ResponseController
}

// begin answers before the first event, so that the client knows from when on it gets
// them.
func (s stream) begin() error {
	s.Header().Set("Content-Type", "text/event-stream")
	s.Header().Set("Cache-Control", "no-store")
	s.Header().Set("X-Accel-Buffering", "no") // nginx holds answers back otherwise
	return s.write(func() error { return nil })
}

// pass writes what the subscription gets until the request's context is done.
func (s stream) pass(r *http.Request, subscription *Subscription) error {
	silence := time.NewTicker(keepAlive)
	defer silence.Stop()
	var told uint64
	for {
		var err error
		select {
		case <-r.Context().Done():
			return nil
		case <-silence.C:
			err = s.write(func() error { _, err := io.WriteString(s, ": keep-alive\n\n"); return err })
		case request := <-subscription.Requests():
			silence.Reset(keepAlive)
			err = s.write(func() error { return writeEvent(s, EventRequest, request.ID, request) })
		}
		if lost := subscription.Lost(); err == nil && lost > told {
			err = s.write(func() error { return writeEvent(s, EventLost, "", Loss{lost - told}) })
			told = lost
		}
		if err != nil {
			return err
		}
	}
}

// write writes one event and sends it. A client that doesn't read can't hold it
// longer than writeTimeout.
func (s stream) write(event func() error) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := event(); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	// A deadline that passes while nothing is written ends a stream of HTTP/2, and lets
	// net/http not write the end of one of HTTP/1.
	return s.control.SetWriteDeadline(time.Time{})
}
