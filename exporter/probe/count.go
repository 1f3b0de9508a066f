// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// timedOneIn is how many runs one timed run stands for: looking at the clock twice
// takes longer than many a program.
const timedOneIn = 64

// golden is 2³² divided by the golden ratio. Multiples of it, modulo 2³², fall evenly
// into equal parts however regularly they are picked (Knuth, The Art of Computer
// Programming 3, 6.4), so the runs that are timed are in step with nothing that
// programs do at every 2nd or 64th run.
const golden = 0x9E3779B1

// counts are the runs of a probe's programs, all of them counted, and the time that
// some of them took. The programs do it themselves, with a few instructions that add
// puts around each: what the kernel offers (BPF_ENABLE_STATS, Linux 5.8) reads the
// clock twice in every run of every program of the machine.
//
// A row for each CPU, in cache lines of its own, has a counter for each program; one
// row more has the nanoseconds of the runs that were timed.
type counts struct {
	rows   *ebpf.Map
	memory *ebpf.Memory
	cpus   uint32 // rounded up to a power of two, so that a mask holds the verifier's hand
	row    uint32 // bytes, a power of two
}

// newCounts makes counters for a number of programs.
func newCounts(probe string, programs int) (*counts, error) {
	possible, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	const cacheLine = 64
	c := &counts{cpus: powerOfTwo(possible), row: max(cacheLine, powerOfTwo(8*programs))}
	c.rows, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "hits_" + probe, Type: ebpf.Array, KeySize: 4, ValueSize: (c.cpus + 1) * c.row, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		return nil, fmt.Errorf("create the map of hits: %w", explain(err))
	}
	if c.memory, err = c.rows.Memory(); err != nil {
		c.rows.Close()
		return nil, fmt.Errorf("map the hits into memory: %w", explain(err))
	}
	return c, nil
}

// powerOfTwo rounds up.
func powerOfTwo(n int) uint32 { return 1 << bits.Len(uint(max(n, 1)-1)) }

func (c *counts) Close() error { return c.rows.Close() }

// read returns how often each program has run, and how long by the runs that were
// timed. Both only grow. Index is what add was given.
func (c *counts) read() (hits []uint64, run []time.Duration) {
	raw := make([]byte, (c.cpus+1)*c.row)
	_, _ = c.memory.ReadAt(raw, 0) // fails outside the memory, and without any
	at := func(row, program uint32) uint64 { return binary.NativeEndian.Uint64(raw[row*c.row+8*program:]) }
	hits, run = make([]uint64, c.row/8), make([]time.Duration, c.row/8)
	for program := range c.row / 8 {
		for cpu := range c.cpus {
			hits[program] += at(cpu, program)
		}
		run[program] = timedOneIn * time.Duration(at(c.cpus, program))
	}
	return hits, run
}

// Labels of the instructions that add adds.
const (
	labelBegin = "tcpslo.begin"
	labelEnd   = "tcpslo.end"
	labelExit  = "tcpslo.exit"
)

// add returns a program that counts its runs as those of the program with this
// index.
func (c *counts) add(program asm.Instructions, index int) asm.Instructions {
	load := func(offset uint32) asm.Instruction {
		ins := asm.LoadMapValue(asm.R1, 0, offset+8*uint32(index))
		_ = ins.AssociateMap(c.rows) // fails for other instructions
		return ins
	}
	head := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetSmpProcessorId.Call(),
		asm.And.Imm(asm.R0, int32(c.cpus-1)),
		asm.LSh.Imm(asm.R0, int32(bits.TrailingZeros32(c.row))),
		load(0),
		asm.Add.Reg(asm.R1, asm.R0),
		asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord), // programs at uprobes can be preempted
	}
	body := slices.Clone(program)
	called := body.FunctionReferences() // which come behind the function itself
	end := slices.IndexFunc(body, func(ins asm.Instruction) bool { return slices.Contains(called, ins.Symbol()) })
	if end < 0 {
		end = len(body)
	}
	slot, ok := freeStack(body[:end])
	if !ok {
		return prepend(append(head, asm.Mov.Reg(asm.R1, asm.R6)), body, "")
	}
	golden := uint32(golden)
	head = append(head,
		asm.Mul.Imm32(asm.R0, int32(golden)),
		asm.RSh.Imm32(asm.R0, int32(32-bits.TrailingZeros(timedOneIn))),
		asm.JNE.Imm(asm.R0, timedOneIn-1, labelBegin),
		asm.FnKtimeGetNs.Call(),
		// The time is never that small: a small number says that the run is not timed.
		asm.StoreMem(asm.RFP, slot, asm.R0, asm.DWord).WithSymbol(labelBegin),
		asm.Mov.Reg(asm.R1, asm.R6),
	)
	for i, ins := range body[:end] {
		if ins.OpCode == asm.Return().OpCode {
			body[i] = asm.Ja.Label(labelEnd).WithMetadata(ins.Metadata).WithReference(labelEnd)
		}
	}
	tail := asm.Instructions{
		asm.LoadMem(asm.R1, asm.RFP, slot, asm.DWord).WithSymbol(labelEnd),
		asm.JLT.Imm(asm.R1, timedOneIn, labelExit),
		asm.Mov.Reg(asm.R6, asm.R0),
		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R1, asm.RFP, slot, asm.DWord),
		asm.Sub.Reg(asm.R0, asm.R1),
		load(c.cpus * c.row),
		asm.StoreXAdd(asm.R1, asm.R0, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R6),
		asm.Return().WithSymbol(labelExit),
	}
	return prepend(head, slices.Concat(body[:end], tail, body[end:]), "")
}

// freeStack finds eight bytes of the stack below all that a function uses. The compiler
// reaches a place on the stack by R10 and an offset, or copies R10 and adds the offset to
// the copy (eliminateFrameIndex(), llvm/lib/Target/BPF/BPFRegisterInfo.cpp). A function that
// leaves none, or is too long for a jump to its end, is not timed.
func freeStack(function asm.Instructions) (offset int16, ok bool) {
	const stack, jump = 512, 1 << 14 // MAX_BPF_STACK, include/linux/filter.h; a jump is an int16
	lowest := int64(0)
	for i, ins := range function {
		switch class := ins.OpCode.Class(); {
		case class == asm.LdXClass || class == asm.StClass || class == asm.StXClass:
			if ins.Src == asm.RFP || ins.Dst == asm.RFP {
				lowest = min(lowest, int64(ins.Offset))
			}
		case i > 0 && isCopyOfRFP(function[i-1]) && ins.OpCode == asm.Add.Imm(ins.Dst, 0).OpCode && ins.Dst == function[i-1].Dst:
			lowest = min(lowest, ins.Constant)
		}
	}
	lowest = lowest&^7 - 8
	return int16(lowest), lowest >= -stack && len(function) < jump
}

func isCopyOfRFP(ins asm.Instruction) bool {
	return ins.OpCode == asm.Mov.Reg(ins.Dst, asm.RFP).OpCode && ins.Src == asm.RFP
}
