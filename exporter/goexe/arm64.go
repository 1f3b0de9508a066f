// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/arch/arm64/arm64asm"
)

// decodeARM64 decodes the instruction that code begins with. Every instruction
// is one word, so one that x/arch does not know does no harm: where execution
// goes is told by the masks of the kernel, arch/arm64/include/asm/insn.h.
func decodeARM64(code []byte, address uint64) (instruction, error) {
	if len(code) < 4 {
		return instruction{}, io.ErrUnexpectedEOF
	}
	w := binary.LittleEndian.Uint32(code)
	in := instruction{
		address: address,
		length:  4,
		text: func(n symbolNamer) string {
			inst, err := arm64asm.Decode(code[:4])
			if err != nil {
				return fmt.Sprintf("WORD $%#08x", w)
			}
			return arm64asm.GoSyntax(inst, address, n, nil)
		},
	}
	switch {
	case w&0xfc000000 == 0x14000000: // B
		in.flow, in.target, in.emulated = flowJump, relativeARM64(address, w, 0, 26), true
	case w&0xfc000000 == 0x94000000: // BL
		in.flow, in.target, in.emulated = flowCall, relativeARM64(address, w, 0, 26), true
	case w&0xff000010 == 0x54000000, w&0x7e000000 == 0x34000000: // B.cond; CBZ, CBNZ
		in.flow, in.target, in.emulated = flowBranch, relativeARM64(address, w, 5, 19), true
	case w&0x7e000000 == 0x36000000: // TBZ, TBNZ
		in.flow, in.target, in.emulated = flowBranch, relativeARM64(address, w, 5, 14), true
	case w&0xfffffc1f == 0xd61f0000: // BR
		in.flow, in.emulated = flowJump, true
	case w&0xfffffc1f == 0xd63f0000: // BLR
		in.flow, in.emulated = flowCall, true
	case w&0xfffffc1f == 0xd65f0000: // RET
		in.flow, in.emulated = flowReturn, true
	case w&0x1f000000 == 0x10000000: // ADR, ADRP
		in.emulated = true
	case w&0xffe0001f == 0xd4200000, w&0xffff0000 == 0: // BRK, UDF
		in.flow = flowTrap
	}
	if len(code) >= 8 {
		in.data = pageARM64(address, w, binary.LittleEndian.Uint32(code[4:]))
	}
	in.prologue = prologueARM64(code[:4])
	return in, nil
}

// relativeARM64 is the target of a branch whose signed offset, in words, is in
// the given bits.
func relativeARM64(address uint64, w uint32, shift, bits int) uint64 {
	offset := int32(w<<(32-shift-bits)) >> (32 - bits)
	return address + uint64(int64(offset)*4)
}

// pageARM64 is the address that an ADRP and the instruction after it make
// together, an ADD or a load or store of a word; 0 for any others.
func pageARM64(address uint64, w, after uint32) uint64 {
	if w&0x9f000000 != 0x90000000 || after>>5&0x1f != w&0x1f {
		return 0
	}
	pages := int32(w<<8)>>13<<2 | int32(w>>29&3)
	page := address&^0xfff + uint64(int64(pages)<<12)
	offset := uint64(after >> 10 & 0xfff)
	switch {
	case after&0xffc00000 == 0x91000000: // ADD
		return page + offset
	case after&0xffc00000 == 0xf9400000, after&0xffc00000 == 0xf9000000: // LDR, STR
		return page + offset*word
	}
	return 0
}

// prologueARM64 is true for the instructions by which cmd/internal/obj/arm64
// (obj7.go, stacksplit) compares the stack pointer with the limit in g, if they
// write none of the registers that hold arguments (R0 to R15) or g (R28) under
// ABIInternal.
func prologueARM64(code []byte) bool {
	inst, err := arm64asm.Decode(code)
	if err != nil {
		return false
	}
	switch inst.Op {
	case arm64asm.CMP:
		return true
	case arm64asm.LDR, arm64asm.MOV, arm64asm.MOVZ, arm64asm.MOVK, arm64asm.SUB, arm64asm.SUBS:
		switch inst.Args[0] {
		case arm64asm.X16, arm64asm.X17, arm64asm.X27, arm64asm.RegSP(arm64asm.X16), arm64asm.RegSP(arm64asm.X17), arm64asm.RegSP(arm64asm.X27):
			return true
		}
	}
	return false
}
