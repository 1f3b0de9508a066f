// SPDX-License-Identifier: Apache-2.0

// Package privilege gives up what the exporter does not need once it observes.
package privilege

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the capabilities (capabilities(7)) that the exporter goes on to need.
var kept = []int{
	unix.CAP_BPF,              // read maps, load programs again on a reload
	unix.CAP_PERFMON,          // attach to executables that start later
	unix.CAP_SYS_PTRACE,       // look at other users' /proc/PID/exe and fd, read goroutines
	unix.CAP_DAC_READ_SEARCH,  // read executables that only their owner may read
	unix.CAP_SYSLOG,           // read kernel addresses again on a reload
	unix.CAP_LEASE,            // learn that somebody wants to write to an executable
	unix.CAP_NET_BIND_SERVICE, // listen on a port below 1024
}

// Drop gives up every other capability but those in also, of all threads and for
// good. It does nothing for a process that has none to give up.
func Drop(also ...int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	var mask [2]uint32
	for _, capability := range append(also, kept...) {
		mask[capability/32] |= 1 << (capability % 32)
	}
	for i := range data {
		data[i].Effective &= mask[i]
		data[i].Permitted &= mask[i]
		data[i].Inheritable = 0
	}
	// The bounding set stays: without CAP_SETPCAP nothing else can be raised, and
	// the exporter executes no other program.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("give up capabilities: %w", errno)
	}
	return nil
}
