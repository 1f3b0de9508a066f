// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// HasKprobes tells whether BPF programs can attach to kernel functions by
// breakpoints: the kernel registers a perf PMU "kprobe" (Linux 4.17,
// kernel/events/core.c) where it was built with CONFIG_KPROBE_EVENTS.
func HasKprobes() bool {
	_, err := os.Stat("/sys/bus/event_source/devices/kprobe")
	return err == nil
}

// HasTrampolines tells whether BPF programs can attach to kernel functions by
// trampolines (fentry, fexit). It loads a program that does nothing for a function
// that the kernel has for this purpose (net/bpf/test_run.c).
func HasTrampolines(t testing.TB) bool {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceFEntry,
		AttachTo:     "bpf_fentry_test1",
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	switch {
	case err == nil:
		program.Close()
		return true
	case errors.Is(err, unix.EPERM), errors.Is(err, ebpf.ErrNotSupported):
		return false
	default:
		t.Fatalf("load a program for a trampoline: %v", err)
		return false
	}
}
