// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
)

// A route is one row of the table that every router serves.
type route struct {
	method string
	path   string // template in the notation of Go 1.22's ServeMux
	// handle answers the request and says which status it answered with:
	// three digits, or "hijacked". A panic is told apart by stats.
	handle func(w http.ResponseWriter, r *http.Request) (status string)
}

var routes = []route{
	{"GET", "/hello/{name}", hello},
	{"POST", "/items", createItem},
	{"GET", "/items/{id}", readItem},
	{"DELETE", "/items/{id}", deleteItem},
	{"GET", "/status/{code}", anyStatus},
	{"GET", "/implicit", implicit},
	{"GET", "/early", early},
	{"GET", "/slow", slow},
	{"GET", "/busy", busy},
	{"GET", "/stream", stream},
	{"GET", "/big", large},
	{"GET", "/deep", deep},
	{"GET", "/goroutine", goroutine},
	{"GET", "/gone", gone},
	{"GET", "/panic", panics},
	{"GET", "/abort", aborts},
	{"GET", "/recovered", recovered},
	{"GET", "/hijack", hijack},
	{"GET", "/leak", leak},
	{"GET", "/forget", forget},
	{"GET", "/abandon", abandon},
	{"GET", "/open", openFile},
	{"GET", "/stuck", stuck},
	{"GET", "/wait", wait},
	{"GET", "/burn", burn},
	{"GET", "/background", background},
}

// matches tells whether the route serves this request. As in ServeMux, a route
// for GET serves HEAD too, and a wildcard stands for one segment that is not empty.
func (rt route) matches(method, path string) bool {
	if method != rt.method && !(method == "HEAD" && rt.method == "GET") {
		return false
	}
	want, got := strings.Split(rt.path, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if strings.HasPrefix(want[i], "{") {
			if got[i] == "" {
				return false
			}
		} else if want[i] != got[i] {
			return false
		}
	}
	return true
}

// find returns the first of the table's routes that serves this request.
func find(table []route, method, path string) (route, bool) {
	for _, rt := range table {
		if rt.matches(method, path) {
			return rt, true
		}
	}
	return route{}, false
}

// lastSegment is the value of the wildcard of every template that has one.
func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
