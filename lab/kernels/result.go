// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// verdict is how a run on one kernel ended.
type verdict string

const (
	passed      verdict = "passed"
	failed      verdict = "failed"      // the test ended with a code other than 0
	panicked    verdict = "guest panic" // the kernel crashed, under the test or before it
	timedOut    verdict = "timeout"
	noOutcome   verdict = "no result" // the machine ended and did not say how the test did
	notStarted  verdict = "not started"
	interrupted verdict = "interrupted"
)

// Exit codes beside those of the test. They are those of timeout(1) and env(1).
const (
	exitNoOutcome = 124 // a machine ended without the test's own exit code
	exitRunner    = 125 // the runner could not do its work
)

// result is what is known of the run on one kernel.
type result struct {
	kernel  string
	suite   string // "" where there is only one
	release string // as uname -r prints it
	verdict verdict
	code    int           // of a test that failed
	wall    time.Duration // from the start of QEMU to its end
	detail  string        // for a person: the end of the console's log
	printed string        // the end of what the tests printed
}

// String returns the verdict, with the exit code of a test that failed.
func (r result) String() string {
	if r.verdict == failed {
		return fmt.Sprintf("failed (exit code %d)", r.code)
	}
	return string(r.verdict)
}

// exitCode returns the code to end with: 124 if any machine died, since nothing
// is known of the test then, else the code of the first test that failed, else 0.
// Nothing is ever run a second time: a guest that crashes now and then is a finding.
func exitCode(results []result) int {
	code := 0
	for _, r := range results {
		switch r.verdict {
		case passed:
		case failed:
			if code == 0 {
				code = r.code
			}
		default:
			return exitNoOutcome
		}
	}
	return code
}

// writeSummary prints a table of the results, with a column for the suite if
// there are several, and under it why tests failed: of a long log it is the end
// that is kept and read.
func writeSummary(w io.Writer, results []result) error {
	var table strings.Builder
	tabs := tabwriter.NewWriter(&table, 0, 0, 3, ' ', 0)
	row := func(kernel, suite, rest string) {
		if slices.ContainsFunc(results, func(r result) bool { return r.suite != "" }) {
			kernel += "\t" + suite
		}
		fmt.Fprintf(tabs, "%s\t%s\n", kernel, rest)
	}
	row("KERNEL", "TESTS", "VERSION\tRESULT\tWALL TIME")
	for _, r := range results {
		row(r.kernel, r.suite, fmt.Sprintf("%s\t%s\t%.1f s", r.release, r, r.wall.Seconds()))
	}
	if err := tabs.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.verdict != passed {
			fmt.Fprintf(&table, "\n%s:\n%s\n", strings.TrimSpace(r.kernel+" "+r.suite+" "+r.String()), strings.TrimSpace(r.printed+"\n"+r.detail))
		}
	}
	_, err := io.WriteString(w, table.String())
	return err
}
