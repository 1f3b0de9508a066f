// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const lacking = "TESTENV_LACKS"

// The test that the one below runs in a process of its own.
func TestThat_lacks_something(t *testing.T) {
	if program := os.Getenv(lacking); program != "" {
		Need(t, program, "nothing")
	}
}

func TestSkip_fails_the_test_where_CI_is_true_and_skips_it_elsewhere(t *testing.T) {
	for ci, want := range map[string]string{
		"true": "--- FAIL: TestThat_lacks_something",
		"":     "--- SKIP: TestThat_lacks_something",
	} {
		cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^TestThat_lacks_something$")
		cmd.Env = append(os.Environ(), "CI="+ci, lacking+"=a_program_that_is_not_there")
		out, err := cmd.CombinedOutput()
		if failed := err != nil; failed != (ci == "true") || !strings.Contains(string(out), want) || !strings.Contains(string(out), "a_program_that_is_not_there is not installed (Debian package nothing)") {
			t.Errorf("CI=%q: got %v, want %q in\n%s", ci, err, want, out)
		}
	}
}
