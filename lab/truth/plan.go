// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Plan says which requests to send. Two runs of one plan send the same requests.
type Plan struct {
	Requests    int
	Seed        int64
	Concurrency int // workers, at least 1
	// Mix is how often each of lab/server's routes is chosen; nil means DefaultMix.
	Mix Mix
	// Label gives Key.Path; nil means the template that the server's ServeMux fills
	// into Request.Pattern, which is "" where no route matches.
	Label func(Request) string
}

// A Mix gives routes a weight, such as {"GET /hello/{name}": 10}. The route
// "GET /nothing-here" is the one that the server does not have.
type Mix map[string]int

// DefaultMix sends every route at least now and then, the cheap ones often.
func DefaultMix() Mix {
	return Mix{
		"GET /hello/{name}": 30, "HEAD /hello/{name}": 5,
		"POST /items": 15, "GET /items/{id}": 15, "DELETE /items/{id}": 5,
		"GET /status/{code}": 10, "GET /nothing-here": 3,
		"GET /implicit": 5, "GET /early": 3, "GET /stream": 3, "GET /recovered": 3,
		"GET /slow": 1, "GET /big": 1, "GET /deep": 1, "GET /gone": 1,
		"GET /panic": 2, "GET /abort": 2, "GET /hijack": 2,
	}
}

// A Request is one request as it is sent.
type Request struct {
	Method string
	// Path as it is sent, without a query.
	Path string
	// Template of the server's route, "" for the route that it does not have.
	Template string
}

// request is a Request with what only the client needs to know.
type request struct {
	Request
	query string // with its question mark, or empty
	body  string
	// cut: the server cuts the connection instead of answering.
	cut bool
	// leave: the client closes the connection when the answer has begun.
	leave bool
}

// ByTemplates labels as an exporter does that has to match paths against the routes:
// of its configuration, because the router fills no pattern. A template is a path with
// {name} for one segment; the first that matches is the label, and other where none does.
func ByTemplates(templates []string, other string) func(Request) string {
	return func(r Request) string {
		for _, template := range templates {
			if templateMatches(template, r.Path) {
				return template
			}
		}
		return other
	}
}

func templateMatches(template, path string) bool {
	return slices.EqualFunc(strings.Split(template, "/"), strings.Split(path, "/"), func(want, got string) bool {
		wildcard := strings.HasPrefix(want, "{") && strings.HasSuffix(want, "}")
		return want == got || wildcard && got != ""
	})
}

func (p Plan) label() func(Request) string {
	if p.Label != nil {
		return p.Label
	}
	return func(r Request) string { return r.Template }
}

// Count returns how many requests of the plan have this method and server's
// template, whatever becomes of them; 0 for a plan that Run refuses.
func (p Plan) Count(method, template string) uint64 {
	requests, _ := p.requests() // nil on error, which Run reports
	var n uint64
	for _, r := range requests {
		if r.Method == method && r.Template == template {
			n++
		}
	}
	return n
}

// requests draws the plan's requests, in order.
func (p Plan) requests() ([]request, error) {
	if p.Requests < 1 {
		return nil, fmt.Errorf("a plan needs at least 1 request, got %d", p.Requests)
	}
	mix := p.Mix
	if mix == nil {
		mix = DefaultMix()
	}
	// In sorted order, for Go's maps have none.
	var urn []string
	for _, route := range slices.Sorted(maps.Keys(mix)) {
		if _, known := makers[route]; !known {
			return nil, fmt.Errorf("unknown route %q in the mix, want one of %q", route, slices.Sorted(maps.Keys(makers)))
		}
		for range mix[route] {
			urn = append(urn, route)
		}
	}
	if len(urn) == 0 {
		return nil, errors.New("the mix is empty")
	}
	random := rand.New(rand.NewPCG(uint64(p.Seed), 0))
	drawn := make([]request, p.Requests)
	for i := range drawn {
		route := urn[random.IntN(len(urn))]
		r := makers[route](random)
		var template string
		r.Method, template, _ = strings.Cut(route, " ")
		if r.Path == "" {
			r.Path = template
		}
		if template != missing {
			r.Template = template
		}
		drawn[i] = r
	}
	return drawn, nil
}

// missing is the path that lab/server answers with 404.
const missing = "/nothing-here"

// codes are what GET /status/{code} is asked for: statuses with a body and without,
// of every class, and two that no registry knows.
var codes = []int{200, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 418, 429, 499, 500, 502, 503, 504, 599, 999}

// makers make one request of each route. Method and template are the route's own,
// and so is the path unless it is set.
var makers = map[string]func(*rand.Rand) request{
	"GET /hello/{name}":  hello,
	"HEAD /hello/{name}": hello,
	"POST /items": func(r *rand.Rand) request {
		return request{body: strings.Repeat("x", r.IntN(4096))}
	},
	"GET /items/{id}":    item,
	"DELETE /items/{id}": item,
	"GET /status/{code}": func(r *rand.Rand) request {
		return at("/status/%d", codes[r.IntN(len(codes))])
	},
	"GET /slow": func(r *rand.Rand) request {
		return request{query: fmt.Sprintf("?ms=%d", 5+r.IntN(20))}
	},
	"GET /gone":      func(*rand.Rand) request { return request{leave: true} },
	"GET /panic":     func(*rand.Rand) request { return request{cut: true} },
	"GET /abort":     func(*rand.Rand) request { return request{cut: true} },
	"GET /recovered": plain,
	"GET /implicit":  plain,
	"GET /early":     plain,
	"GET /stream":    plain,
	"GET /big":       plain,
	"GET /deep":      plain,
	"GET /hijack":    plain,
	"GET " + missing: plain,
}

func plain(*rand.Rand) request { return request{} }

func hello(r *rand.Rand) request { return at("/hello/visitor-%d", r.IntN(1_000_000)) }

func item(r *rand.Rand) request { return at("/items/%d", r.IntN(1_000_000)) }

func at(format string, value int) request {
	return request{Request: Request{Path: fmt.Sprintf(format, value)}}
}
