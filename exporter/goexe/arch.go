// SPDX-License-Identifier: Apache-2.0

package goexe

import "debug/elf"

// architecture is what differs between the machines that are supported. The
// decoders are built everywhere: an executable of the one can be examined on the
// other.
type architecture struct {
	name           string // GOARCH
	minInstruction uint8  // size of the smallest instruction and the unit of pclntab's program counters, in bytes
	relative       uint32 // relocation type: load bias plus addend
	decode         func(code []byte, address uint64) (instruction, error)
}

var architectures = map[elf.Machine]*architecture{
	elf.EM_X86_64:  {"amd64", 1, uint32(elf.R_X86_64_RELATIVE), decodeAMD64},
	elf.EM_AARCH64: {"arm64", 4, uint32(elf.R_AARCH64_RELATIVE), decodeARM64},
}

// instruction is what a decoder tells of one instruction.
type instruction struct {
	address uint64
	length  uint64 // in bytes
	flow    flow
	target  uint64 // of a direct branch, jump or call; else 0
	data    uint64 // address of the memory that it names relative to itself; else 0
	// text is the instruction in Go's assembly syntax.
	text func(symbolNamer) string

	// emulated: the kernel (5.10 and newer) executes it in software when a uprobe
	// stands on it. Any other is copied elsewhere and single-stepped, which costs a
	// second trap, 10 to 20 times as much in a virtual machine.
	emulated bool
	// prologue: it belongs in a function's prologue. It leaves the registers alone
	// that hold arguments and the current g.
	prologue bool
	// comparesStack: its flags tell whether the stack has room for the frame.
	comparesStack bool
	// push: it saves a register on the stack.
	push bool
}

// symbolNamer gives the name and the start of the function at an address, or "",
// as GoSyntax of x/arch wants it.
type symbolNamer func(address uint64) (name string, start uint64)

// flow is where execution goes after an instruction.
type flow uint8

const (
	flowNext   flow = iota // to the one that follows it
	flowCall               // to it too, in the end
	flowBranch             // to it, or to the target
	flowJump               // elsewhere
	flowReturn             // to the caller
	flowTrap               // nowhere
)

func (i instruction) next() uint64 { return i.address + i.length }
