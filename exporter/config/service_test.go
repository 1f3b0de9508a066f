// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/exporter/slo"
)

func TestServiceFor_takes_the_first_service_whose_every_condition_holds(t *testing.T) {
	c := parse(t, `
services:
  - {name: ports and user, match: {ports: [8080, 8081], user: www}}
  - {name: path, match: {executable: "/opt/*/bin/shop-?"}}
  - {name: base, match: {executable: "shop*"}}
  - {name: arguments, match: {command_line: "-role[= ]worker\\b"}}
  - {name: pod, match: {cgroup: "/kubepods/*/pod[0-9]*"}}
  - {name: number, match: {user: 1000}}
  - {name: by-name}
`)
	for _, p := range []struct {
		why     string
		process Process
		want    string
	}{
		{"port and user", Process{Executable: "/x/shop-1", Ports: []uint16{1, 8081}, User: "www"}, "ports and user"},
		{"port but not user", Process{Executable: "/x/other", Ports: []uint16{8080}, User: "root"}, "other"},
		{"user but not port", Process{Executable: "/x/other", Ports: []uint16{80}, User: "www"}, "other"},
		{"path", Process{Executable: "/opt/a/b/bin/shop-1"}, "path"},
		{"a longer path", Process{Executable: "/opt/a/bin/shop-12"}, "base"},
		{"base name", Process{Executable: "/usr/bin/shopping"}, "base"},
		{"base name of a file that was replaced", Process{Executable: "/usr/bin/shop (deleted)"}, "base"},
		{"directory is no base name", Process{Executable: "/shop/bin/x"}, "x"},
		{"arguments", Process{Executable: "/usr/bin/x", CommandLine: "x -role=worker -v"}, "arguments"},
		{"other arguments", Process{Executable: "/usr/bin/x", CommandLine: "x -role=workers"}, "x"},
		{"control group", Process{Executable: "/usr/bin/x", Cgroup: "/kubepods/burstable/pod4711/abc"}, "pod"},
		{"other control group", Process{Executable: "/usr/bin/x", Cgroup: "/system.slice/x"}, "x"},
		{"number of the user", Process{Executable: "/usr/bin/x", UID: 1000, User: "alice"}, "number"},
		{"name by default", Process{Executable: "/srv/by-name"}, "by-name"},
		{"nothing is known", Process{}, ""},
		{"replaced while it runs", Process{Executable: "/usr/bin/y (deleted)"}, "y"},
	} {
		name, service := c.ServiceFor(p.process)
		if name != p.want || service.Name != p.want {
			t.Errorf("%s: service %q (%q), want %q", p.why, name, service.Name, p.want)
		}
	}
}

func TestServiceFor_gives_an_unlisted_process_the_default_objectives(t *testing.T) {
	_, service := Default().ServiceFor(Process{Executable: "/usr/bin/x"})
	want := []slo.Definition{
		{Name: "availability", Objective: 99.9, Window: 720 * time.Hour},
		{Name: "latency", Objective: 99, Window: 720 * time.Hour, Latency: 200 * time.Millisecond},
	}
	if !slices.Equal(service.SLOs, want) {
		t.Errorf("objectives %+v", service.SLOs)
	}
	if template, ok := service.Route("GET", "/"); ok {
		t.Errorf("a service without routes has route %q", template)
	}
}

func TestGlob_stands_for_the_whole_text_with_slashes(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*/checkout", "/usr/local/bin/checkout", true},
		{"*/checkout", "/usr/local/bin/checkout2", false},
		{"*/checkout", "checkout", false},
		{"a?c", "a/c", true},
		{"a?c", "ac", false},
		{"[!a-c]x", "dx", true},
		{"[!a-c]x", "bx", false},
		{"[a.b]", ".", true},
		{"[a.b]", "x", false},
		{`a\*b`, "a*b", true},
		{`a\*b`, "axb", false},
		{"a.b+(c)", "a.b+(c)", true},
		{"a.b", "axb", false},
		{"é*", "éa\nb", true},
	} {
		g, err := ParseGlob(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		} else if got := g.Match(c.text); got != c.want {
			t.Errorf("%s against %q: %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
	if (Glob{}).Match("") {
		t.Error("the zero glob matches")
	}
}

// TestGlob_agrees_with_path_Match compares patterns and texts without slashes, for
// which the two mean the same.
func TestGlob_agrees_with_path_Match(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	word := func(alphabet []string, most int) string {
		var b strings.Builder
		for range rng.IntN(most) {
			b.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		return b.String()
	}
	compared := 0
	for range 200_000 {
		pattern := word([]string{"a", "b", "*", "?", "[ab]", "[^a]", "[a-c]", `\*`, ".", "+", "é"}, 6)
		text := word([]string{"a", "b", "c", "*", ".", "+", "é"}, 6)
		g, err := ParseGlob(pattern)
		if pattern == "" {
			continue
		}
		want, wantErr := path.Match(pattern, text)
		if err != nil || wantErr != nil {
			t.Fatalf("%s: %v and %v", pattern, err, wantErr)
		}
		if got := g.Match(text); got != want {
			t.Fatalf("%s against %q: %v, path.Match says %v", pattern, text, got, want)
		}
		if want {
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("only %d texts matched", compared)
	}
}

func TestName_of_a_service_with_wildcards_matches_itself_alone(t *testing.T) {
	g := literalGlob(`a*[b]?\`)
	again, err := ParseGlob(g.String())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{`a*[b]?\`: true, `axb?\`: false, `a*b?\`: false} {
		if g.Match(text) != want || again.Match(text) != want {
			t.Errorf("%q: %v and, parsed again, %v, want %v", text, g.Match(text), again.Match(text), want)
		}
	}
}
