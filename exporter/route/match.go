// SPDX-License-Identifier: Apache-2.0

package route

import (
	"net/url"
	"strings"
)

// node is one segment further into the paths, as in net/http's routing_tree.go
// (Go 1.22).
type node struct {
	literal map[string]*node // by segment; "/" is the slash at the end of a path
	single  *node            // {name}
	multi   string           // template that takes the rest of the path from here
	end     string           // template that ends here
}

// insert adds a path template that net/http has accepted.
func (n *node) insert(template string) {
	rest := template
	for rest != "" {
		rest = rest[1:] // The slash.
		segment, after := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			segment, after = rest[:i], rest[i:]
		}
		switch {
		case rest == "" || strings.HasSuffix(segment, "...}"):
			n.multi = template
			return
		case segment == "{$}":
			n, after = n.child("/"), ""
		case strings.HasPrefix(segment, "{"):
			if n.single == nil {
				n.single = &node{}
			}
			n = n.single
		default:
			n = n.child(unescape(segment))
		}
		rest = after
	}
	n.end = template
}

func (n *node) child(segment string) *node {
	if n.literal == nil {
		n.literal = map[string]*node{}
	}
	c := n.literal[segment]
	if c == nil {
		c = &node{}
		n.literal[segment] = c
	}
	return c
}

// Match returns the path template, without its method, of the most specific
// template that matches; ok is false if none does. The path is that of the
// request line, percent-encoded; a query is ignored. As in net/http a template
// for GET matches HEAD too.
func (s *Set) Match(method, path string) (template string, ok bool) {
	path = stripQuery(path)
	if s == nil || !strings.HasPrefix(path, "/") {
		return "", false
	}
	candidates := [...]string{method, "GET", ""}
	for i, m := range candidates {
		if i == 1 && method != "HEAD" || i < 2 && m == "" {
			continue
		}
		if template = s.methods[m].match(path); template != "" {
			return template, true
		}
	}
	return "", false
}

// match prefers a literal segment to {name} and that to the rest of the path. It
// goes back when a choice leads nowhere, but reaches each node in one way only, so
// a path never costs more than the number of nodes.
func (n *node) match(path string) string {
	if n == nil {
		return ""
	}
	if path == "" {
		return n.end
	}
	segment, rest := "/", ""
	if path != "/" {
		segment, rest = path[1:], ""
		if i := strings.IndexByte(segment, '/'); i >= 0 {
			segment, rest = segment[:i], segment[i:]
		}
		segment = unescape(segment)
	}
	if found := n.literal[segment].match(rest); found != "" {
		return found
	}
	if path != "/" {
		if found := n.single.match(rest); found != "" {
			return found
		}
	}
	return n.multi
}

func unescape(segment string) string {
	if plain, err := url.PathUnescape(segment); err == nil {
		return plain
	}
	return segment
}

func stripQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
