// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func compile(t testing.TB, templates ...string) *Set {
	t.Helper()
	set, err := Compile(templates)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestMatch_chooses_the_most_specific_template(t *testing.T) {
	set := compile(t, "/users/{id}", "/users/me", "GET /users/{id}/posts", "/files/{path...}", "/static/", "/{$}", "/a%2Fb/c", "PUT /{$}", "DELETE /users/me")
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/users/7", "/users/{id}"},
		{"GET", "/users/7?verbose=1", "/users/{id}"},
		{"DELETE", "/users/me", "/users/me"},
		{"PUT", "/", "/{$}"},
		{"GET", "/users/me", "/users/me"},
		{"GET", "/users/7/posts", "/users/{id}/posts"},
		{"HEAD", "/users/7/posts", "/users/{id}/posts"},
		{"POST", "/users/7/posts", ""},
		{"GET", "/users/", ""},
		{"GET", "/users", ""},
		{"GET", "/files/", "/files/{path...}"},
		{"GET", "/files/a/b/c", "/files/{path...}"},
		{"GET", "/static/x", "/static/"},
		{"GET", "/", "/{$}"},
		{"GET", "/b", ""},
		{"GET", "/a%2Fb/c", "/a%2Fb/c"},
		{"GET", "/a/b/c", ""},
		{"GET", "*", ""},
		{"GET", "", ""},
		{"", "/users/me", "/users/me"},
	} {
		got, ok := set.Match(c.method, c.path)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s %s: %q, %v, want %q", c.method, c.path, got, ok, c.want)
		}
	}
	if got, ok := (*Set)(nil).Match("GET", "/"); ok {
		t.Errorf("no set at all matches %q", got)
	}
}

func TestCompile_refuses_with_the_reason(t *testing.T) {
	for _, c := range []struct {
		templates []string
		want      string
	}{
		{[]string{""}, `route "" has path "", which must start with /`},
		{[]string{"users"}, `route "users" has path "users", which must start with /`},
		{[]string{"example.com/"}, `route "example.com/" has path "example.com/", which must start with /`},
		{[]string{"get /a"}, `route "get /a" has method "get", want capital letters such as GET`},
		{[]string{"/a?x=1"}, `route "/a?x=1" has a query, only the path is compared`},
		{[]string{"GET /a b"}, `route "GET /a b" has a space or control character in its path`},
		{[]string{"/a/{"}, `route "/a/{" is invalid: bad wildcard segment (must end with '}')`},
		{[]string{"/a/{id}.json"}, `route "/a/{id}.json" is invalid: bad wildcard segment (must end with '}')`},
		{[]string{"/{x...}/b"}, `route "/{x...}/b" is invalid: {...} wildcard not at end`},
		{[]string{"/{x}/{x}"}, `route "/{x}/{x}" is invalid: duplicate wildcard name "x"`},
		{[]string{"/{$}/b"}, `route "/{$}/b" is invalid: {$} not at end`},
		{[]string{"/a/{x}", "/a/{y}"}, `route "/a/{y}" conflicts with pattern "/a/{x}": /a/{y} matches the same requests as /a/{x}`},
		{[]string{"/a/{x}", "/{y}/b"}, `route "/{y}/b" conflicts with pattern "/a/{x}": /{y}/b and /a/{x} both match some paths, like "/a/b", but neither is more specific than the other`},
		{[]string{"GET /a/{x}", "/a/b"}, `route "/a/b" conflicts with pattern "GET /a/{x}": /a/b matches more methods than GET /a/{x}, but has a more specific path pattern`},
		{[]string{"a", "/ok", "b"}, "route \"a\" has path \"a\", which must start with /\nroute \"b\" has path \"b\", which must start with /"},
	} {
		set, err := Compile(c.templates)
		if set != nil || err == nil || err.Error() != c.want {
			t.Errorf("%q: got %v\nwant %s", c.templates, err, c.want)
		}
		var all Errors
		if !errors.As(err, &all) || all[len(all)-1].Index != len(c.templates)-1 {
			t.Errorf("%q: the last error is not about the last template: %#v", c.templates, all)
		}
	}
}

// TestMatch_agrees_with_net_http draws templates and paths from few segments, so
// that they overlap in every way, and asks http.ServeMux.
func TestMatch_agrees_with_net_http(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	templates, paths := 0, 0
	for range 2000 {
		mux := http.NewServeMux()
		var accepted []string
		for range 1 + rng.IntN(8) {
			var b strings.Builder
			b.WriteString(pick("", "", "GET ", "POST ", "HEAD "))
			for i := range rng.IntN(4) {
				b.WriteString("/" + pick("a", "b", "c%20d", fmt.Sprintf("{w%d}", i)))
			}
			b.WriteString(pick("", "/", "/{$}", "/{rest...}"))
			template := b.String()
			if _, path := Split(template); path == "" {
				continue
			}
			if _, err := Compile(append(accepted, template)); err == nil {
				accepted = append(accepted, template)
				mux.Handle(template, http.NotFoundHandler())
			}
		}
		set := compile(t, accepted...)
		templates += len(accepted)
		for range 20 {
			var b strings.Builder
			for range 1 + rng.IntN(4) {
				// Not %2F alone, which net/http mistakes for the end of the path.
				b.WriteString("/" + pick("a", "b", "c%20d", "x", "a%2Fb"))
			}
			b.WriteString(pick("", "", "/"))
			method, path := pick("GET", "POST", "HEAD", "PUT"), b.String()
			handler, pattern := mux.Handler(httptest.NewRequest(method, path, nil))
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, httptest.NewRequest(method, path, nil))
			if response.Code/100 == 3 {
				continue // From /a to /a/: the mux answers that itself, no route does.
			}
			_, want := Split(pattern)
			got, _ := set.Match(method, path)
			paths++
			if got != want {
				t.Fatalf("%s %s in %q: got %q, net/http says %q", method, path, accepted, got, want)
			}
		}
	}
	if templates < 2000 || paths < 30000 {
		t.Errorf("only %d templates and %d paths were compared", templates, paths)
	}
}

func FuzzCompile_and_match(f *testing.F) {
	f.Add("GET /users/{id}\n/users/me\n/{rest...}", "GET", "/users/%zz?x")
	f.Add("/{$}\n/a//b\n/%zz", "HEAD", "//")
	f.Fuzz(func(t *testing.T, templates, method, path string) {
		set, err := Compile(strings.Split(templates, "\n"))
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v and error %v", set, err)
		}
		if found, ok := set.Match(method, path); ok && !strings.Contains(templates, found) {
			t.Fatalf("matched %q, which is no template", found)
		}
	})
}
