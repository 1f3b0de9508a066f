// SPDX-License-Identifier: Apache-2.0

// Command testsummary reads what `go test -json` writes and shows what a person
// needs of it: a line for each package, the output of what failed, then every
// skipped test with its reason, and as the last line how many there were:
//
//	1234 passed, 0 failed, 2 skipped
//
// A test with subtests is not counted, its subtests are. The exit code is 1 if
// anything failed, a package that does not compile too.
package main

import (
	"fmt"
	"os"
)

func main() {
	s := newSummary(os.Stdout)
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
	if !s.report() {
		os.Exit(1)
	}
}
