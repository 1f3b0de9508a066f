// SPDX-License-Identifier: Apache-2.0

//go:build go1.22

package main

import "net/http"

// newMux registers the routes with ServeMux, whose patterns know methods and
// wildcards since Go 1.22.
func newMux(table []route) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range table {
		handle := rt.handle
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) { handle(w, r) })
	}
	return mux
}
