// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
)

// newHandler puts the routes, the pages about the server itself and the
// accounting behind the router that was asked for.
func newHandler(router string, listeners []*listener) (http.Handler, error) {
	counts := newStats()
	var table []route
	for _, rt := range routes {
		table = append(table, counts.counted(rt))
	}
	table = append(table,
		route{"GET", "/-/stats", page(counts.ServeHTTP)},
		route{"GET", "/-/accepts", page(acceptsHandler(listeners))},
		route{"GET", "/-/goroutines", page(goroutines)},
		route{"GET", "/-/release", page(waiting.release)},
	)
	var handler http.Handler
	switch router {
	case "mux", "wrapped":
		handler = newMux(table)
	case "copy":
		handler = copying(newMux(table))
	case "bare":
		handler = byHand(table, func(*http.Request, route) {})
	case "fill":
		if !canFillPattern {
			return nil, fmt.Errorf("router %q needs a server built with Go 1.23 or newer", router)
		}
		handler = byHand(table, fillPattern)
	default:
		return nil, fmt.Errorf("unknown router %q, want mux, copy, bare, fill or wrapped", router)
	}
	return counts.countUnmatched(table, handler), nil
}

// page makes a route's handler of one that has no status to report.
func page(handler http.HandlerFunc) func(http.ResponseWriter, *http.Request) string {
	return func(w http.ResponseWriter, r *http.Request) string {
		handler(w, r)
		return "200"
	}
}

type contextKey struct{}

// copying is the middleware that attaches a value to the context, as tracing and
// authentication do: everything below it works on a copy of the request.
func copying(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, "value")))
	})
}

// byHand is a router that owes nothing to net/http; found is called with the route
// of each request before the request's handler.
func byHand(table []route, found func(*http.Request, route)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt, ok := find(table, r.Method, r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		found(r, rt)
		rt.handle(w, r)
	})
}
