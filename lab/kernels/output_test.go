// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/tcpslo/tcpslo/lab/kernels/internal/guest"
)

func TestOutcomeReader(t *testing.T) {
	for _, c := range []struct {
		sentence, port, output string
		want                   guest.Outcome
		ok                     bool
	}{
		{"the outcome is cut off the output", "line\nhalf a line\x1e{\"code\":3,\"release\":\"6.1\"}\n", "line\nhalf a line", guest.Outcome{Code: 3, Release: "6.1"}, true},
		{"without output there is an outcome all the same", "\x1e{\"code\":0}\n", "", guest.Outcome{}, true},
		{"a test may print the mark itself", "a\x1eb\x1e{}c\n\x1e{\"code\":1}\n", "a\x1eb\x1e{}c\n", guest.Outcome{Code: 1}, true},
		{"output alone is no outcome", "line\n", "line\n", guest.Outcome{}, false},
		{"half an outcome is none", "line\n\x1e{\"code\":0", "line\n", guest.Outcome{}, false},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			// It must not matter how the port's bytes are cut into writes.
			for size := 1; size <= len(c.port); size++ {
				var out bytes.Buffer
				o := newOutcomeReader(&out)
				for rest := []byte(c.port); len(rest) > 0; {
					n := min(size, len(rest))
					if written, err := o.Write(rest[:n]); err != nil || written != n {
						t.Fatalf("wrote %d of %d: %v", written, n, err)
					}
					rest = rest[n:]
				}
				got, ok := o.outcome()
				if out.String() != c.output || got != c.want || ok != c.ok {
					t.Errorf("in writes of %d: output %q, outcome %+v %v", size, out.String(), got, ok)
				}
			}
		})
	}
}

func TestLineWriter_never_mixes_the_lines_of_two_machines(t *testing.T) {
	var out bytes.Buffer
	var lock sync.Mutex
	a := &lineWriter{lock: &lock, out: &out, prefix: "[a] "}
	b := &lineWriter{lock: &lock, out: &out, prefix: "[b] "}
	for _, w := range []struct {
		to   *lineWriter
		text string
	}{{a, "one "}, {b, "x\n\ny"}, {a, "line\ntwo"}, {b, "\n"}} {
		if n, err := w.to.Write([]byte(w.text)); err != nil || n != len(w.text) {
			t.Fatalf("wrote %d of %d: %v", n, len(w.text), err)
		}
	}
	for _, w := range []*lineWriter{a, b} {
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[b] x\n[b] \n[a] one line\n[b] y\n[a] two\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		sentence string
		results  []result
		want     int
	}{
		{"all passed is 0", []result{{verdict: passed}, {verdict: passed}}, 0},
		{"the first failure's code is taken", []result{{verdict: passed}, {verdict: failed, code: 2}, {verdict: failed, code: 1}}, 2},
		{"a machine that died outweighs a failure", []result{{verdict: failed, code: 2}, {verdict: panicked}}, 124},
		{"a machine that never started is no success", []result{{verdict: notStarted}, {verdict: passed}}, 124},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if got := exitCode(c.results); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestSummary_ends_with_why_tests_failed(t *testing.T) {
	var out strings.Builder
	err := writeSummary(&out, []result{
		{kernel: "6.1", suite: "e2e", verdict: passed, printed: "ok"},
		{kernel: "6.12", suite: "e2e", verdict: failed, code: 1, printed: "--- FAIL: TestX"},
		{kernel: "5.10", suite: "probe", verdict: panicked, detail: "Kernel panic"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "\n6.12 e2e failed (exit code 1):\n--- FAIL: TestX\n\n5.10 probe guest panic:\nKernel panic\n"
	if !strings.HasSuffix(out.String(), "0.0 s\n"+want) {
		t.Errorf("got %q, want it to end with %q", out.String(), want)
	}
}

func TestProgress_is_plain_text_where_it_is_not_a_terminal(t *testing.T) {
	var out strings.Builder
	p := progress{w: &out}
	p.step("6.1", "%s", p.paint(red, "failed"))
	p.colour = true
	p.step("6.1", "%s", p.paint(red, "failed"))
	if want := "6.1        failed\n\x1b[1m6.1       \x1b[0m \x1b[31mfailed\x1b[0m\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
