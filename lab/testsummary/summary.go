// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
)

// event is a line of `go test -json` (go doc test2json). Lines about a build
// have an ImportPath instead of a Package (since Go 1.24).
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	FailedBuild string
}

// name is a test; Test is "" for the package itself.
type name struct{ pkg, test string }

// summary collects the events of one run.
type summary struct {
	out     io.Writer
	output  map[name]*strings.Builder
	parents map[name]bool // tests that have subtests
	passed  []name
	failed  []name
	skipped []name
	reasons map[name]string
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[name]*strings.Builder{}, parents: map[name]bool{}, reasons: map[name]string{}}
}

// read takes the events until the end of the input. A line that is not an event
// is shown as it is: a Makefile's echo, or an old go.
func (s *summary) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(s.out, lines.Text())
			continue
		}
		s.handle(e)
	}
	return lines.Err()
}

func (s *summary) handle(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		s.keep(n, e.Output)
	case "run":
		if slash := strings.LastIndexByte(n.test, '/'); slash >= 0 {
			s.parents[name{n.pkg, n.test[:slash]}] = true
		}
	case "pass", "fail", "skip":
		if n.test == "" {
			s.endPackage(n, e)
		} else {
			s.endTest(n, e.Action)
		}
	}
}

// keep keeps the output of a test until it is known whether anyone needs it.
func (s *summary) keep(n name, text string) {
	if strings.HasPrefix(text, "=== ") { // RUN, PAUSE, CONT, NAME
		return
	}
	b := s.output[n]
	if b == nil {
		b = &strings.Builder{}
		s.output[n] = b
	}
	b.WriteString(text)
}

func (s *summary) take(n name) string {
	b := s.output[n]
	delete(s.output, n)
	if b == nil {
		return ""
	}
	return b.String()
}

func (s *summary) endTest(n name, action string) {
	output := s.take(n)
	switch action {
	case "pass":
		s.passed = append(s.passed, n)
	case "skip":
		s.skipped = append(s.skipped, n)
		s.reasons[n] = reason(output)
	case "fail":
		s.failed = append(s.failed, n)
		fmt.Fprint(s.out, output)
	}
}

// reason is what a test said when it skipped: its output without the place in
// the source and the line that says that it was skipped.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--- SKIP") {
			continue
		}
		if place, text, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = text
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return said[len(said)-1]
}

// endPackage shows the result of a package. One that failed although none of
// its tests did (it does not compile, TestMain failed, it ran out of time)
// counts as a failure of its own, and what it said is shown.
func (s *summary) endPackage(n name, e event) {
	output := s.take(n)
	if e.Action != "fail" {
		s.show(output)
		return
	}
	testFailed := false
	for _, f := range s.failed {
		testFailed = testFailed || f.pkg == n.pkg
	}
	if !testFailed {
		s.failed = append(s.failed, n)
		// A test that never ended holds what it said last.
		for unfinished := range s.output {
			if unfinished.pkg == n.pkg {
				fmt.Fprint(s.out, s.take(unfinished))
			}
		}
	}
	fmt.Fprint(s.out, output)
}

// show prints the line with the result, without the lines before it, such as
// PASS or what a test printed.
func (s *summary) show(output string) {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "ok  ") {
			fmt.Fprint(s.out, line)
		}
	}
}

// report prints the skipped and the failed tests and the last line. It tells
// whether all is well.
func (s *summary) report() bool {
	leaves := func(all []name) []name {
		var some []name
		for _, n := range all {
			if !s.parents[n] {
				some = append(some, n)
			}
		}
		return some
	}
	passed, failed, skipped := leaves(s.passed), s.leavesOfFailed(), leaves(s.skipped)
	if len(skipped) > 0 {
		fmt.Fprintln(s.out, "\nskipped:")
		s.list(skipped, func(n name) string { return ": " + s.reasons[n] })
	}
	if len(failed) > 0 {
		fmt.Fprintln(s.out, "\nfailed:")
		s.list(failed, func(name) string { return "" })
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped\n", len(passed), len(failed), len(skipped))
	return len(s.failed) == 0
}

// leavesOfFailed also has the tests that failed by themselves, after all their
// subtests had passed.
func (s *summary) leavesOfFailed() []name {
	var some []name
	for _, n := range s.failed {
		below := false
		for _, other := range s.failed {
			below = below || other.pkg == n.pkg && strings.HasPrefix(other.test, n.test+"/")
		}
		if !below {
			some = append(some, n)
		}
	}
	return some
}

func (s *summary) list(all []name, more func(name) string) {
	sort.Slice(all, func(i, j int) bool {
		return all[i].pkg < all[j].pkg || all[i].pkg == all[j].pkg && all[i].test < all[j].test
	})
	for _, n := range all {
		fmt.Fprintf(s.out, "  %s %s%s\n", n.pkg, n.test, more(n))
	}
}
