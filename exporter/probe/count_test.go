// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// countedProgram loads a program for test runs that takes some time, as the second of
// three.
func countedProgram(t *testing.T, loops int32) (*ebpf.Program, *counts) {
	t.Helper()
	testenv.NeedRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err)
	}
	c, err := newCounts("test", 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: c.add(asm.Instructions{
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord).WithSymbol("spins"),
		asm.Mov.Imm(asm.R2, loops),
		asm.Sub.Imm(asm.R2, 1).WithSymbol("again"),
		asm.JNE.Imm(asm.R2, 0, "again"),
		asm.LoadMem(asm.R1, asm.RFP, -8, asm.DWord),
		asm.Call.Label("called"),
		asm.Return(),
		// A program that the engine did not time at its end would leave by this.
		asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord).WithSymbol("called"),
		asm.Return(),
	}, 1)})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { program.Close() })
	return program, c
}

// run tells whether the program has run. What it returns is its first argument, so it
// still gets what it got before; for a run that it skips the kernel returns 0.
func run(t *testing.T, program *ebpf.Program, options ebpf.RunOptions) bool {
	options.Context = []uint64{42}
	got, err := program.Run(&options)
	if err != nil || got != 42 && got != 0 {
		t.Errorf("the program returned %d (%v), want 42", got, err)
	}
	return got == 42
}

// Runs calls yield for each program with its runs by the engine's count, by the
// kernel's, which is read a moment later, and by the engine's again.
func (s *Set) Runs(yield func(name string, before, kernel, after uint64)) {
	for _, p := range s.Probes {
		for _, program := range p.programs {
			before, _ := p.counts.read()
			var kernel uint64
			for _, function := range program.functions {
				if stats, err := function.Stats(); err == nil {
					kernel += stats.RunCount
				}
			}
			after, _ := p.counts.read()
			yield(p.Definition.Name+" "+program.Name, before[program.counter], kernel, after[program.counter])
		}
	}
}

func TestRuns_on_all_CPUs_at_once_are_all_counted(t *testing.T) {
	const callers, each = 4, 5000 // of each CPU
	program, c := countedProgram(t, 1)
	cpus := runtime.NumCPU()
	var skipped atomic.Uint64
	var wait sync.WaitGroup
	for cpu := range cpus {
		for range callers {
			wait.Go(func() {
				for range each {
					if !run(t, program, ebpf.RunOptions{Flags: unix.BPF_F_TEST_RUN_ON_CPU, CPU: uint32(cpu)}) {
						skipped.Add(1)
					}
				}
			})
		}
	}
	wait.Wait()
	// Linux 7 skips a run on a CPU that is in the middle of another, and counts it.
	stats, err := program.Stats()
	if err != nil || skipped.Load() != stats.RecursionMisses {
		t.Errorf("%d runs were skipped, the kernel says %d (%v)", skipped.Load(), stats.RecursionMisses, err)
	}
	hits, times := c.read()
	if want := uint64(cpus*callers*each) - skipped.Load(); hits[0] != 0 || hits[1] != want || hits[2] != 0 {
		t.Errorf("counted %d runs, want %d for the second program only", hits[:3], want)
	}
	if times[0] != 0 || times[1] == 0 || times[2] != 0 {
		t.Errorf("the programs took %v, want time for the second only", times[:3])
	}
}

// One run in 64 stands for the others, and an interrupt in it for 64: the median of
// rounds tells. The kernel's account has the instructions that count, too.
func TestRun_time_is_what_the_kernel_accounts(t *testing.T) {
	program, c := countedProgram(t, 8000)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	var estimated, accounted float64
	var ratios []float64
	for range 21 {
		for range 5000 {
			run(t, program, ebpf.RunOptions{})
		}
		_, times := c.read()
		kernel, err := program.Stats()
		if err != nil {
			t.Fatal(err)
		}
		newEstimated, newAccounted := times[1].Seconds(), kernel.Runtime.Seconds()
		ratios = append(ratios, (newEstimated-estimated)/(newAccounted-accounted))
		estimated, accounted = newEstimated, newAccounted
	}
	slices.Sort(ratios)
	if median := ratios[len(ratios)/2]; median < 0.85 || median > 1.15 {
		t.Errorf("estimated ÷ accounted run time is %.2f, want about 1; all rounds: %.2f", median, ratios)
	}
}

func TestStack_that_the_engine_takes_is_below_what_a_program_uses(t *testing.T) {
	for sentence, test := range map[string]struct {
		program asm.Instructions
		want    int16 // 0 for none
	}{
		"nothing":                   {asm.Instructions{asm.Mov.Imm(asm.R0, -300)}, -8},
		"a spilled register":        {asm.Instructions{asm.StoreMem(asm.RFP, -16, asm.R1, asm.DWord)}, -24},
		"a small constant":          {asm.Instructions{asm.StoreImm(asm.RFP, -20, 0, asm.Byte)}, -32},
		"a word that is read":       {asm.Instructions{asm.LoadMem(asm.R1, asm.RFP, -36, asm.Word)}, -48},
		"a variable":                {asm.Instructions{asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -200)}, -208},
		"all but one word":          {asm.Instructions{asm.StoreMem(asm.RFP, -504, asm.R1, asm.DWord)}, -512},
		"all":                       {asm.Instructions{asm.StoreMem(asm.RFP, -512, asm.R1, asm.DWord)}, 0},
		"a number that is no place": {asm.Instructions{asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R2, -400)}, -8},
	} {
		t.Run(sentence, func(t *testing.T) {
			got, ok := freeStack(test.program)
			if ok != (test.want != 0) || ok && got != test.want {
				t.Errorf("got %d (%v), want %d", got, ok, test.want)
			}
		})
	}
}

// What the compiler adds to a copy of R10 it adds at once: the engine looks nowhere else.
func TestCompiled_programs_add_to_a_copy_of_the_frame_pointer_at_once(t *testing.T) {
	copies := 0
	for _, builtin := range bpf.Probes() {
		object, err := bpf.Object(builtin.Name)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		for name, program := range spec.Programs {
			for i, ins := range program.Instructions {
				if !isCopyOfRFP(ins) {
					continue
				}
				copies++
				if next := program.Instructions[i+1]; next.OpCode != asm.Add.Imm(ins.Dst, 0).OpCode || next.Dst != ins.Dst || next.Constant >= 0 {
					t.Errorf("%s of %s: %v is followed by %v", name, builtin.Name, ins, next)
				}
			}
		}
	}
	if copies == 0 {
		t.Error("no program has a variable on its stack")
	}
}
