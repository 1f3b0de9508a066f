// SPDX-License-Identifier: Apache-2.0

// Package testenv decides what a test does when the machine lacks something
// that it needs. On a developer's machine the test is skipped and says why; with
// CI=true the same lack is a failure, so that a skip can never hide one.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Skip skips the test for the reason given, or fails it when CI=true.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI=true forbids skipping: %s", reason)
	}
	t.Skip(reason)
}

// Need returns the path of a program, which a Debian package has, or skips the test.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Skip(t, program+" is not installed (Debian package "+debianPackage+")")
	}
	return path
}

// NeedRoot skips the test unless it runs as root, which loading BPF programs
// and making network namespaces takes.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root (run: sudo -E make test)")
	}
}
