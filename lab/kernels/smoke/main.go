// SPDX-License-Identifier: Apache-2.0

// Command smoke tells whether BPF works on the kernel that it runs on: it loads
// one program on a tracepoint and one on a trampoline (fentry), makes a known
// number of calls and compares it with what the programs counted. It is the first
// thing to run on a new kernel of the matrix:
//
//	CGO_ENABLED=0 go build -o smoke ./lab/kernels/smoke
//	go run ./lab/kernels run -kernel all smoke
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// calls is how often each program is made to run.
const calls = 1000

func main() {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		fail("uname", err)
	}
	fmt.Println(unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:]),
		unix.ByteSliceToString(name.Version[:]), unix.ByteSliceToString(name.Machine[:]))

	if err := rlimit.RemoveMemlock(); err != nil {
		fail("remove the limit of locked memory", err)
	}
	check("raw tracepoint sys_enter", &ebpf.ProgramSpec{Type: ebpf.RawTracepoint}, func(prog *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: prog})
	})
	check("fentry", &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: getpgid()}, func(prog *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: prog})
	})
	fmt.Println("BPF works")
}

// getpgid is the kernel function of the system call that is made. It is one with
// an argument: fentry on __x64_sys_getppid, which has none, is refused from 5.10
// to 7.3.
func getpgid() string {
	return map[string]string{"amd64": "__x64_sys_getpgid", "arm64": "__arm64_sys_getpgid"}[runtime.GOARCH]
}

// check loads spec with a body that counts the runs made by this process, and
// fails unless it counts at least the calls made. Go's runtime makes system calls
// of its own, so a tracepoint on all of them may count more.
func check(what string, spec *ebpf.ProgramSpec, attach func(*ebpf.Program) (link.Link, error)) {
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		fail(what+": create a map", err)
	}
	defer counter.Close()
	spec.License = "GPL"
	spec.Instructions = count(counter)
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		fail(what+": load", err)
	}
	defer prog.Close()
	attached, err := attach(prog)
	if err != nil {
		fail(what+": attach", err)
	}
	defer attached.Close()
	for range calls {
		if _, err := unix.Getpgid(0); err != nil {
			fail("getpgid", err)
		}
	}
	var counted uint64
	if err := counter.Lookup(uint32(0), &counted); err != nil {
		fail(what+": read the counter", err)
	}
	stats, err := prog.Stats()
	if err != nil {
		fail(what+": read the statistics", err)
	}
	// From 7.0 on the kernel now and then skips a run and says so.
	if counted+stats.RecursionMisses < calls {
		fail(what, fmt.Errorf("%d calls, counted %d, %d missed", calls, counted, stats.RecursionMisses))
	}
	fmt.Printf("%s: %d calls, counted %d, %d missed\n", what, calls, counted, stats.RecursionMisses)
}

// count adds 1 to the only entry of an array map if the process is this one.
func count(counter *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.JNE.Imm(asm.R0, int32(os.Getpid()), "end"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
		asm.Return(),
	}
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	os.Exit(1)
}
