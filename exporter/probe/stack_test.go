// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// Threads that share a CPU hit a uprobe whose program remembers on its stack which of them it
// is for, and looks again for so long that many a run is preempted, where the kernel can be.
func TestVariables_of_a_program_at_a_uprobe_are_those_of_its_thread(t *testing.T) {
	testenv.NeedRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err)
	}
	const threads, runs, looks = 4, 2000, 2000
	counters, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer counters.Close()
	add := func(offset uint32) asm.Instructions {
		at := asm.LoadMapValue(asm.R1, 0, offset)
		if err := at.AssociateMap(counters); err != nil {
			t.Fatal(err)
		}
		return asm.Instructions{at, asm.Mov.Imm(asm.R2, 1), asm.StoreXAdd(asm.R1, asm.R2, asm.DWord)}
	}
	instructions := asm.Instructions{
		asm.FnGetCurrentPidTgid.Call().WithSymbol("looks"),
		asm.StoreMem(asm.RFP, -128, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R6, looks),
		asm.FnGetCurrentPidTgid.Call().WithSymbol("again"),
		asm.LoadMem(asm.R1, asm.RFP, -128, asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "another"),
		asm.Sub.Imm(asm.R6, 1),
		asm.JNE.Imm(asm.R6, 0, "again"),
	}
	instructions = append(append(instructions, add(0)...), asm.Mov.Imm(asm.R0, 0), asm.Return())
	another := add(8)
	another[0] = another[0].WithSymbol("another")
	instructions = append(append(instructions, another...), asm.Mov.Imm(asm.R0, 0), asm.Return())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "GPL", Instructions: withOwnStack(instructions)})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer program.Close()

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := goexe.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	site, err := file.EntrySite("github.com/tcpslo/tcpslo/exporter/probe.trapTarget")
	if err != nil {
		t.Fatal(err)
	}
	executable, err := link.OpenExecutable(self)
	if err != nil {
		t.Fatal(err)
	}
	uprobe, err := executable.Uprobe(site.Function, program, &link.UprobeOptions{Address: site.Offset, PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer uprobe.Close()

	var wait sync.WaitGroup
	for range threads {
		wait.Go(func() {
			runtime.LockOSThread() // and the thread ends with the goroutine
			var first unix.CPUSet
			first.Set(0)
			if err := unix.SchedSetaffinity(0, &first); err != nil {
				t.Error(err)
			}
			for i := range runs {
				trapTarget(i)
			}
		})
	}
	wait.Wait()
	var counted struct{ Own, Another uint64 }
	if err := counters.Lookup(uint32(0), &counted); err != nil {
		t.Fatal(err)
	}
	// On arm64 the site comes before the stack is checked: a call that finds there that it is to be preempted begins anew.
	again := runtime.GOARCH == "arm64" && counted.Own > threads*runs
	if counted.Own != threads*runs && !again || counted.Another != 0 {
		t.Errorf("%d runs found their own variables, %d those of another thread, want %d and 0", counted.Own, counted.Another, threads*runs)
	}
}
