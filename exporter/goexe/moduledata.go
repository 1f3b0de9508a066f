// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"errors"
	"fmt"
)

// word is the size of a pointer on both architectures, in bytes.
const word = 8

// moduledata is what is needed of runtime.firstmoduledata (runtime/symtab.go),
// the linker's table of contents.
type moduledata struct {
	header      uint64 // of the pclntab: runtime.pcHeader
	text, etext uint64 // Go's machine code

	functionNames span // of bytes
	units         span // of uint32 offsets in files, those of each compilation unit together: cutab
	files         span // of bytes: filetab
	pcTables      span // of bytes: pctab
	functionInfo  span // of bytes: pclntable, which ftab's entries point into
	functions     span // of ftab entries, the last of which only ends the one before

	types, etypes uint64
	functionData  uint64 // gofunc: what the data that belongs to functions is relative to

	// Up to Go 1.26, tables say where the types that reflection can find by name
	// and the itabs are.
	typelinks span // of int32 offsets from types
	itablinks span // of pointers

	// Since Go 1.27 they lie in a row, from types on, and are walked.
	typelinkBytes           uint64
	itabOffset, itabsLength uint64 // in bytes, the offset from types
}

// Words of moduledata that have stayed where they are from Go 1.18 to 1.27.
const (
	moduleHeader        = 0
	moduleFunctionNames = 1
	moduleUnits         = 4
	moduleFiles         = 7
	modulePCTables      = 10
	moduleFunctionInfo  = 13
	moduleFunctions     = 16
	moduleMinPC         = 20
	moduleText          = 22
)

// moduleLayout tells which words of moduledata have moved, and in which Go
// release (runtime/symtab.go of each). A word that the release lacks is 0.
type moduleLayout struct {
	since                                 int // minor version
	types, etypes, functionData           int
	typelinks, itablinks                  int
	typelinkBytes, itabOffset, itabLength int
}

var moduleLayouts = []moduleLayout{
	{since: 18, types: 35, etypes: 36, functionData: 38, typelinks: 42, itablinks: 45},
	{since: 20, types: 37, etypes: 38, functionData: 40, typelinks: 44, itablinks: 47}, // covctrs, ecovctrs
	{since: 26, types: 37, etypes: 38, functionData: 40, typelinks: 45, itablinks: 48}, // epclntab
	{since: 27, types: 37, etypes: 39, functionData: 43, typelinkBytes: 38, itabOffset: 40, itabLength: 41},
}

// pclntabMagic is the first word of the pclntab since each release
// (internal/abi, symtab.go).
var pclntabMagic = []struct {
	since int
	magic uint32
}{
	{18, 0xfffffff0},
	{20, 0xfffffff1},
}

// newest is the entry of a table that holds for Go 1.minor.
func newest[T any](table []T, minor int, since func(T) int) T {
	entry := table[0]
	for _, e := range table[1:] {
		if since(e) <= minor {
			entry = e
		}
	}
	return entry
}

// findModuledata finds runtime.firstmoduledata. Since Go 1.26 it has a section
// of its own; before, it is known by its first word, a pointer to the pclntab.
func findModuledata(img *image, minor int) (*moduledata, error) {
	layout := newest(moduleLayouts, minor, func(l moduleLayout) int { return l.since })
	magic := newest(pclntabMagic, minor, func(m struct {
		since int
		magic uint32
	}) int {
		return m.since
	}).magic

	var failure error
	if address, ok := img.sections[".go.module"]; ok {
		module, err := readModuledata(img, address, layout, magic)
		if err == nil {
			return module, nil
		}
		failure = err
	}
	var found *moduledata
	err := pclntabs(img, magic, func(pclntab uint64) bool {
		err := img.pointersTo(pclntab, func(address uint64) bool {
			module, err := readModuledata(img, address, layout, magic)
			if err != nil {
				failure = err
				return true
			}
			found = module
			return false
		})
		if err != nil {
			failure = err
		}
		return found == nil
	})
	switch {
	case found != nil:
		return found, nil
	case err != nil:
		return nil, err
	case failure != nil:
		return nil, failure
	}
	return nil, errors.New("no pclntab, or nothing points to it")
}

// maxPclntabs bounds the search for the pclntab. Its magic number is in the code
// and the data of debuggers and profilers too.
const maxPclntabs = 16

// pclntabs calls found with each address where a pclntab may begin, until it
// returns false. GNU ld gives the section of a position-independent executable
// up to Go 1.25 another name, so the magic number is what is sought if the
// section is not there.
func pclntabs(img *image, magic uint32, found func(uint64) bool) error {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if address, ok := img.sections[name]; ok && !found(address) {
			return nil
		}
	}
	more, candidates := true, 0
	for _, s := range img.segments {
		err := img.search(s.address, s.size, pclntabStart(img.arch, magic), func(address uint64) bool {
			if address%word == 0 {
				candidates++
				more = found(address) && candidates < maxPclntabs
			}
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// pclntabStart is how a pclntab begins: the magic number, two zero bytes, the
// size of the smallest instruction and that of a pointer.
func pclntabStart(arch *architecture, magic uint32) []byte {
	return []byte{byte(magic), byte(magic >> 8), byte(magic >> 16), byte(magic >> 24), 0, 0, arch.minInstruction, word}
}

// readModuledata reads the moduledata at address and believes it only if what it
// says of the pclntab, the text and the types is true.
func readModuledata(img *image, address uint64, layout moduleLayout, magic uint32) (*moduledata, error) {
	var err error
	pointer := func(at int) (v uint64) {
		if err == nil {
			v, err = img.pointer(address + uint64(at)*word)
		}
		return v
	}
	number := func(at int) (v uint64) {
		if err == nil && at != 0 {
			v, err = img.uint64(address + uint64(at)*word)
		}
		return v
	}
	slice := func(at int, size uint64) (s span) {
		if err == nil && at != 0 {
			s, err = img.span(address+uint64(at)*word, size)
		}
		return s
	}
	m := &moduledata{
		header:        pointer(moduleHeader),
		text:          pointer(moduleText),
		etext:         pointer(moduleText + 1),
		functionNames: slice(moduleFunctionNames, 1),
		units:         slice(moduleUnits, 4),
		files:         slice(moduleFiles, 1),
		pcTables:      slice(modulePCTables, 1),
		functionInfo:  slice(moduleFunctionInfo, 1),
		functions:     slice(moduleFunctions, functabEntrySize),
		types:         pointer(layout.types),
		etypes:        pointer(layout.etypes),
		functionData:  pointer(layout.functionData),
		typelinks:     slice(layout.typelinks, 4),
		itablinks:     slice(layout.itablinks, word),
		typelinkBytes: number(layout.typelinkBytes),
		itabOffset:    number(layout.itabOffset),
		itabsLength:   number(layout.itabLength),
	}
	minPC, maxPC := pointer(moduleMinPC), pointer(moduleMinPC+1)
	if err != nil {
		return nil, fmt.Errorf("at %#x: %w", address, err)
	}
	start, err := img.bytes(m.header, 16)
	if err != nil {
		return nil, fmt.Errorf("at %#x: pclntab: %w", address, err)
	}
	count, err := img.uint64(m.header + 8)
	if err != nil {
		return nil, fmt.Errorf("at %#x: pclntab: %w", address, err)
	}
	switch {
	case string(start[:8]) != string(pclntabStart(img.arch, magic)):
		err = fmt.Errorf("pclntab at %#x begins with % x", m.header, start[:8])
	case m.functions.n < 2 || m.functions.n != count+1:
		err = fmt.Errorf("%d function table entries for %d functions", m.functions.n, count)
	case m.functions.n > maxFunctions:
		err = fmt.Errorf("%d functions, more than %d", count, maxFunctions)
	case m.text > minPC || minPC >= maxPC || maxPC > m.etext || !img.contains(m.text, m.etext-m.text):
		err = fmt.Errorf("functions from %#x to %#x in text from %#x to %#x", minPC, maxPC, m.text, m.etext)
	case m.types >= m.etypes || !img.contains(m.types, m.etypes-m.types):
		err = fmt.Errorf("types from %#x to %#x", m.types, m.etypes)
	case m.typelinkBytes > m.etypes-m.types || m.itabOffset > m.etypes-m.types || m.itabsLength > m.etypes-m.types-m.itabOffset:
		err = fmt.Errorf("types from %#x to %#x, with %d bytes of type links and %d bytes of itabs from %#x", m.types, m.etypes, m.typelinkBytes, m.itabsLength, m.itabOffset)
	}
	if err != nil {
		return nil, fmt.Errorf("at %#x: %w", address, err)
	}
	return m, nil
}
