// SPDX-License-Identifier: Apache-2.0

package goexe

import "slices"

// References is what the instructions of a function name relative to themselves,
// ascending: variables and constants, none of them twice. That finds a variable of
// the runtime without a symbol table: some function uses it. On arm64 such an
// address takes two instructions, which Go's assembler never separates (ADRP, and
// ADD or a load or store).
//
// It fails with ErrNoFunction, wrapped, if there is no such function.
func (x *Executable) References(function string) ([]uint64, error) {
	_, instructions, err := x.disassemble(function)
	if err != nil {
		return nil, err
	}
	var all []uint64
	for _, in := range instructions {
		if in.data != 0 {
			all = append(all, in.data)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Entry is where the execution of the program begins. A process knows where that
// is in its memory (AT_ENTRY, getauxval(3)): the difference is the load bias.
func (x *Executable) Entry() uint64 { return x.image.entry }
