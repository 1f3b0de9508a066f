// SPDX-License-Identifier: Apache-2.0

package metric

import "golang.org/x/sys/unix"

// monotonicSeconds is the clock that bpf_ktime_get_ns() reads.
func monotonicSeconds() float64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return float64(now.Nano()) / 1e9
}
