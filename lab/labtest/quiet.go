// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Quiet waits until no thread of a process has anything to do. Then each goroutine of a
// Go program that waits for bytes is parked in the netpoller: one that is on its way there
// keeps its thread running, and while nobody has run between two looks, nobody was on the way.
func Quiet(t testing.TB, pid int) {
	t.Helper()
	Eventually(t, func() error {
		before, err := sleepers(pid)
		if err != nil {
			return err
		}
		after, err := sleepers(pid)
		if err == nil && !maps.Equal(before, after) {
			err = fmt.Errorf("process %d works", pid)
		}
		return err
	})
}

// sleepers is how often each thread of a process has been switched off its processor. It
// fails unless all of them sleep. Source: proc_pid_status(5).
func sleepers(pid int) (map[string]string, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return nil, err
	}
	if len(threads) == 0 {
		return nil, fmt.Errorf("process %d has no threads", pid)
	}
	switches := map[string]string{}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(status), "\nState:\tS") {
			return nil, fmt.Errorf("%s: the thread does not sleep", thread)
		}
		_, switches[thread], _ = strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
	}
	return switches, nil
}
