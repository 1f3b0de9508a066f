// SPDX-License-Identifier: Apache-2.0

//go:build !go1.22

package main

import (
	"net/http"
	"strings"
)

// newMux registers the fixed start of each template, which is all that ServeMux
// understands before Go 1.22, and tells methods apart below it.
func newMux(table []route) http.Handler {
	mux := http.NewServeMux()
	dispatch := byHand(table, func(*http.Request, route) {})
	registered := map[string]bool{}
	for _, rt := range table {
		prefix := rt.path
		if wildcard := strings.IndexByte(prefix, '{'); wildcard >= 0 {
			prefix = prefix[:wildcard]
		}
		if !registered[prefix] {
			registered[prefix] = true
			mux.Handle(prefix, dispatch)
		}
	}
	return mux
}
