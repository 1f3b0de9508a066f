// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// cpuClock is the target of perf_event hooks: a timer of the kernel, which virtual
// machines without a performance counter have, too (PERF_COUNT_SW_CPU_CLOCK).
const cpuClock = "cpu-clock"

// SamplePeriod is the time from one run of a perf_event hook to the next on a CPU. The
// kernel makes the period of cpu-clock of the frequency once and keeps to it
// (perf_swevent_init_hrtimer(), kernel/events/core.c), so it is given here.
func SamplePeriod(frequency uint64) time.Duration {
	return time.Second / time.Duration(frequency)
}

// clocks are perf events, one for each CPU.
type clocks []int

// attachClock has a function run at a frequency in Hz on each CPU that is online now,
// while it isn't idle. One that comes online later is not sampled, as the kernel ties
// the events to a CPU.
func attachClock(function *ebpf.Program, frequency uint64) (io.Closer, error) {
	possible, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	var all clocks
	for cpu := range possible {
		fd, err := openClock(cpu, SamplePeriod(frequency))
		if errors.Is(err, unix.ENODEV) {
			continue // offline
		}
		if err == nil {
			all = append(all, fd)
			err = runAt(fd, function)
		}
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("clock of CPU %d: %w", cpu, err)
		}
	}
	return all, nil
}

func openClock(cpu int, period time.Duration) (int, error) {
	attributes := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: uint64(period.Nanoseconds()), Bits: unix.PerfBitDisabled | unix.PerfBitExcludeIdle,
	}
	return unix.PerfEventOpen(&attributes, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// runAt needs no link, which perf events have since Linux 5.15 only.
func runAt(fd int, function *ebpf.Program) error {
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, function.FD()); err != nil {
		return err
	}
	return unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0)
}

// Close ends all of them.
func (all clocks) Close() error {
	var errs []error
	for _, fd := range all {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
