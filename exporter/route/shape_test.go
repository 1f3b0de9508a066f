// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestShape_replaces_ids_and_keeps_words(t *testing.T) {
	for path, want := range map[string]string{
		"":                    "/",
		"/":                   "/",
		"*":                   "*",
		"/users":              "/users",
		"/users/":             "/users/",
		"/users/42":           "/users/{}",
		"/users/42/":          "/users/{}/",
		"/users/42?name=x#y":  "/users/{}",
		"/users//42":          "/users/{}",
		"/api/v1/items":       "/api/v1/items",
		"/api/v2.1/items":     "/api/v2.1/items",
		"/day/2024-01-31":     "/day/{}",
		"/host/10.0.0.1:8080": "/host/{}",
		"/o/3F2504E0-4F89-11D3-9A0C-0305E82C3301": "/o/{}",
		"/o/3f2504e0-4f89-11d3-9a0c-0305e82c330g": "/o/{}", // No UUID, but a long token.
		"/guest/visitor-101620":                   "/guest/{}",
		"/about/http404":                          "/about/http404",
		"/commit/deadbeef":                        "/commit/{}",
		"/commit/0badcafe00":                      "/commit/{}",
		"/cafe/facade":                            "/cafe/facade",
		"/t/eyJhbGciOiJIUzI1NiJ9.e30":             "/t/{}",
		"/t/internationalization-and-so":          "/t/internationalization-and-so",
		"/mail/someone@example.com":               "/mail/{}",
		"/mail/@someone":                          "/mail/@someone",
		"/q/a%20b":                                "/q/{}",
		"/q/caf\u00e9":                            "/q/café",
		"/q/\xff":                                 "/q/{}",
		"/q/a\x00b":                               "/q/{}",
		"/q/a\nb":                                 "/q/{}",
		"/q/" + strings.Repeat("x", 41):           "/q/{}",
		"/q/" + strings.Repeat("x", 40):           "/q/" + strings.Repeat("x", 40),
		"/a;jsessionid=1234/b":                    "/a/b",
		"/a/b/c/d/e/f/g/h":                        "/a/b/c/d/e/f/g/h",
		"/a/b/c/d/e/f/g/h/i":                      "/a/b/c/d/e/f/g/h/...",
		"/" + strings.Repeat(strings.Repeat("x", 30)+"/", 5): "/" + strings.Repeat("x", 30) + "/" + strings.Repeat("x", 30) + "/" + strings.Repeat("x", 30) + "/...",
		"http://example.com/users/42":                        "/users/{}",
		"http://example.com":                                 "/",
		"users/42":                                           "/users/{}",
	} {
		if got := Shape(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// fitForLabel fails unless a shape keeps what Shape promises of every path.
func fitForLabel(t *testing.T, path string) {
	t.Helper()
	shape := Shape(path)
	switch {
	case len(shape) > maxShapeBytes:
		t.Fatalf("shape of %q has %d bytes: %q", path, len(shape), shape)
	case strings.Count(strings.TrimSuffix(shape, more), "/") > maxSegments+1:
		t.Fatalf("shape of %q has too many segments: %q", path, shape)
	case !strings.HasPrefix(shape, "/") && shape != "*":
		t.Fatalf("shape of %q is no path: %q", path, shape)
	case !utf8.ValidString(shape) || strings.ContainsFunc(shape, func(r rune) bool { return !unicode.IsPrint(r) }):
		t.Fatalf("shape of %q is not printable: %q", path, shape)
	case strings.ContainsAny(shape, "?#%"):
		t.Fatalf("shape of %q has a query or escape: %q", path, shape)
	case Shape(shape) != shape:
		t.Fatalf("shape of %q is %q, whose shape is %q", path, shape, Shape(shape))
	}
}

func TestShape_is_fit_for_a_label_whatever_the_path(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	alphabet := []string{"/", "/", "a", "Z", "9", "%", "?", "@", ".", "-", ";", "é", "\xff", "\n", "deadbeef", "users", "://", strings.Repeat("y", 30)}
	for range 100_000 {
		var b strings.Builder
		for range rng.IntN(30) {
			b.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		fitForLabel(t, b.String())
	}
}

func TestShape_of_a_path_does_not_depend_on_the_id(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	shapes := map[string]bool{}
	for range 1000 {
		shapes[Shape(fmt.Sprintf("/users/%d/items/%016x", rng.Uint64(), rng.Uint64()))] = true
	}
	if len(shapes) != 1 || !shapes["/users/{}/items/{}"] {
		t.Errorf("shapes %v, want /users/{}/items/{} alone", shapes)
	}
}

func FuzzShape(f *testing.F) {
	for _, seed := range []string{"/users/42?x", "//", "http://h/a", "*", "/a;b/c", "/\xff", "/a/b/c/d/e/f/g/h/i/"} {
		f.Add(seed)
	}
	f.Fuzz(fitForLabel)
}

func TestLimiter_admits_the_first_paths_of_each_service(t *testing.T) {
	l := NewLimiter(2)
	for _, c := range []struct {
		service, path, want string
		ok                  bool
	}{
		{"a", "/1", "/1", true},
		{"a", "/2", "/2", true},
		{"a", "/3", Other, false},
		{"a", "/1", "/1", true},
		{"b", "/3", "/3", true},
		{"a", Other, Other, true},
	} {
		if got, ok := l.Admit(c.service, c.path); got != c.want || ok != c.ok {
			t.Errorf("%s %s: %s, %v, want %s, %v", c.service, c.path, got, ok, c.want, c.ok)
		}
	}
	l.Forget("a")
	if got, ok := l.Admit("a", "/3"); got != "/3" || !ok {
		t.Errorf("after Forget: %s, %v", got, ok)
	}
}

func TestLimiter_never_admits_more_when_many_ask_at_once(t *testing.T) {
	const max, workers = 50, 8
	l := NewLimiter(max)
	admitted := make([]map[string]bool, workers)
	var wait sync.WaitGroup
	for w := range workers {
		admitted[w] = map[string]bool{}
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 0))
			for range 5000 {
				path := fmt.Sprintf("/%d", rng.IntN(1000))
				if label, ok := l.Admit("s", path); ok {
					admitted[w][label] = true
				}
			}
		})
	}
	wait.Wait()
	all := map[string]bool{}
	for _, labels := range admitted {
		for label := range labels {
			all[label] = true
		}
	}
	if len(all) != max {
		t.Errorf("%d paths were admitted, want %d", len(all), max)
	}
}
