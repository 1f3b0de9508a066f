// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sort"
)

// relocation is a word of a position-independent executable that the dynamic
// linker sets to the load bias plus value, and that holds zero in the file.
type relocation struct{ address, value uint64 }

// relocationSize is the size of an Elf64_Rela, in bytes.
const relocationSize = 24

// pointer reads the word at address as it is after relocation at load bias
// zero.
//
// The addend of a RELA relocation is the truth (System V ABI, AMD64 supplement,
// §4.4). Go's own linker and GNU ld store it in the word too, as RELR always
// does; LLVM's and mold do not, and leave zero there. So a word that is not zero
// is right as it stands, and a zero is looked up among the relocations.
func (img *image) pointer(address uint64) (uint64, error) {
	word, err := img.uint64(address)
	if err != nil || word != 0 {
		return word, err
	}
	r, err := img.relocations()
	if err != nil {
		return 0, err
	}
	i := sort.Search(len(r), func(i int) bool { return r[i].address >= address })
	if i < len(r) && r[i].address == address {
		return r[i].value, nil
	}
	return 0, nil
}

// pointersTo calls found with the address of each aligned word in writable
// memory that points to target, until found returns false.
func (img *image) pointersTo(target uint64, found func(uint64) bool) error {
	more := true
	check := func(address uint64) bool {
		if address%8 == 0 {
			more = found(address)
		}
		return more
	}
	for _, s := range img.segments {
		if !s.writable || s.executable {
			continue
		}
		if err := img.search(s.address, s.size, binary.LittleEndian.AppendUint64(nil, target), check); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
	relocations, err := img.relocations()
	if err != nil {
		return err
	}
	for _, r := range relocations {
		if r.value == target && !check(r.address) {
			break
		}
	}
	return nil
}

// relocations are the relative relocations whose words are zero in the file, by
// address: none at all with most linkers.
func (img *image) relocations() ([]relocation, error) {
	if img.relocated == nil {
		r, err := img.readRelocations()
		if err != nil {
			return nil, fmt.Errorf("relocations: %w", err)
		}
		img.relocated = &r
	}
	return *img.relocated, nil
}

// readRelocations finds the table by the dynamic segment, for section headers
// may have been stripped.
func (img *image) readRelocations() ([]relocation, error) {
	var table, size uint64
	for at := uint64(0); at+16 <= img.dynamic.size; at += 16 {
		tag, err := img.uint64(img.dynamic.address + at)
		if err != nil {
			return nil, err
		}
		value, err := img.uint64(img.dynamic.address + at + 8)
		if err != nil {
			return nil, err
		}
		switch elf.DynTag(tag) {
		case elf.DT_RELA:
			table = value
		case elf.DT_RELASZ:
			size = value
		}
	}
	if size == 0 {
		return nil, nil
	}
	if !img.contains(table, size) {
		return nil, fmt.Errorf("%w: %d bytes at %#x", errUnmapped, size, table)
	}
	var relocations []relocation
	for at := table; at+relocationSize <= table+size; at += relocationSize {
		var entry [relocationSize]byte
		if err := img.read(at, entry[:]); err != nil {
			return nil, err
		}
		kind := binary.LittleEndian.Uint32(entry[8:]) // the low half of r_info
		r := relocation{binary.LittleEndian.Uint64(entry[:]), binary.LittleEndian.Uint64(entry[16:])}
		if kind != img.arch.relative || r.value == 0 {
			continue
		}
		word, err := img.uint64(r.address)
		if err != nil {
			return nil, err
		}
		if word == 0 {
			relocations = append(relocations, r)
		}
	}
	sort.Slice(relocations, func(i, j int) bool { return relocations[i].address < relocations[j].address })
	return relocations, nil
}
