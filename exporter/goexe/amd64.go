// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// decodeAMD64 decodes the instruction that code begins with.
func decodeAMD64(code []byte, address uint64) (instruction, error) {
	// x86asm gives VZEROUPPER and VZEROALL the operand that other VEX instructions
	// have, and so reads on in the middle of the next instruction.
	if n := vzero(code); n != 0 {
		return instruction{address: address, length: uint64(n), text: func(symbolNamer) string { return "VZEROUPPER" }}, nil
	}
	inst, err := x86asm.Decode(code, 64)
	if err == nil && inst.Op == 0 { // x86asm passes a lone prefix off as an instruction
		err = x86asm.ErrUnrecognized
	}
	if err != nil {
		return instruction{}, fmt.Errorf("% x: %w", code[:min(len(code), 15)], err)
	}
	in := instruction{
		address:  address,
		length:   uint64(inst.Len),
		text:     func(n symbolNamer) string { return x86asm.GoSyntax(inst, address, x86asm.SymLookup(n)) },
		emulated: emulatedAMD64(code[:inst.Len]),
		push:     inst.Op == x86asm.PUSH,
	}
	if rel, ok := inst.Args[0].(x86asm.Rel); ok {
		in.target = in.next() + uint64(int64(rel))
	}
	for _, arg := range inst.Args {
		if memory, ok := arg.(x86asm.Mem); ok && memory.Base == x86asm.RIP {
			in.data = in.next() + uint64(memory.Disp)
		}
	}
	switch inst.Op {
	case x86asm.RET, x86asm.LRET:
		in.flow = flowReturn
	case x86asm.JMP, x86asm.LJMP:
		in.flow = flowJump
	case x86asm.CALL, x86asm.LCALL:
		in.flow = flowCall
	case x86asm.UD1, x86asm.UD2, x86asm.HLT:
		in.flow = flowTrap
	default:
		if in.target != 0 {
			in.flow = flowBranch // Jcc, JRCXZ, LOOP
		}
	}
	in.prologue = prologueAMD64(inst)
	in.comparesStack = comparesStackAMD64(inst)
	return in, nil
}

// vzero is the length of the VEX instruction 77 of the 0F map, which alone in
// that map has no operand; 0 if code begins with another.
func vzero(code []byte) int {
	switch {
	case len(code) >= 3 && code[0] == 0xc5 && code[2] == 0x77:
		return 3
	case len(code) >= 4 && code[0] == 0xc4 && code[1]&0x1f == 1 && code[3] == 0x77:
		return 4
	}
	return 0
}

// emulatedAMD64 follows arch/x86/kernel/uprobes.c of Linux 5.10,
// branch_setup_xol_ops and push_setup_xol_ops; later kernels only add to it. An
// instruction with prefixes other than those that Go's assembler writes counts
// as single-stepped.
func emulatedAMD64(b []byte) bool {
	switch op := b[0]; len(b) {
	case 1: // NOP, PUSH
		return op == 0x90 || op >= 0x50 && op <= 0x57
	case 2: // JMP and Jcc, 8 bit; PUSH of R8 to R15
		return op == 0xeb || op >= 0x70 && op <= 0x7f || op == 0x41 && b[1] >= 0x50 && b[1] <= 0x57
	case 5: // CALL and JMP, 32 bit
		return op == 0xe8 || op == 0xe9
	case 6: // Jcc, 32 bit
		return op == 0x0f && b[1] >= 0x80 && b[1] <= 0x8f
	}
	return false
}

// prologueAMD64 is true for the instructions of which cmd/internal/obj/x86
// (obj6.go, preprocess and stacksplit) makes prologues, if they write no
// register but those that hold neither arguments nor g under ABIInternal.
func prologueAMD64(inst x86asm.Inst) bool {
	switch inst.Op {
	case x86asm.CMP, x86asm.TEST, x86asm.NOP, x86asm.PUSH:
		return true
	case x86asm.MOV, x86asm.LEA, x86asm.ADD, x86asm.SUB, x86asm.AND:
		_, store := inst.Args[0].(x86asm.Mem)
		return store || isFreeAMD64(inst.Args[0])
	case x86asm.JB, x86asm.JBE, x86asm.JA, x86asm.JAE:
		return true
	}
	return false
}

// comparesStackAMD64 is true for CMPQ SP, 16(R14); for large frames SP minus the
// frame is in R12 or R13, and the subtraction is checked for a wrap-around too.
func comparesStackAMD64(inst x86asm.Inst) bool {
	if inst.Op != x86asm.CMP && inst.Op != x86asm.SUB {
		return false
	}
	return isFreeAMD64(inst.Args[0]) || isFreeAMD64(inst.Args[1])
}

// isFreeAMD64 is true for the stack and frame pointer and for the scratch
// registers that prologues use.
func isFreeAMD64(arg x86asm.Arg) bool {
	switch arg {
	case x86asm.RSP, x86asm.RBP, x86asm.R12, x86asm.R13:
		return true
	}
	return false
}
