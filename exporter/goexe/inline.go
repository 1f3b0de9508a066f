// SPDX-License-Identifier: Apache-2.0

package goexe

import "fmt"

// Of the tables that belong to a function (internal/abi, symtab.go).
const (
	tableInlineIndex = 2 // PCDATA_InlTreeIndex: by program counter, the inlined call it is in or -1
	dataInlineTree   = 3 // FUNCDATA_InlTree: the inlined calls
)

// noFunctionData marks data that the function does not have.
const noFunctionData = 1<<32 - 1

// maxInlined bounds what a function is believed to have inlined.
const maxInlined = 1 << 16

// InlinedInto is the functions that hold a copy of the named one instead of
// calling it, in address order. A probe on the function sees none of what these
// do. A profile-guided build can inline what others do not, for example
// net/http.serverHandler.ServeHTTP into (*conn).serve, while the function
// remains for its other callers.
//
// It looks at every function: milliseconds, not microseconds.
func (x *Executable) InlinedInto(function string) ([]string, error) {
	t := x.functions
	wanted, err := t.nameOffset(function)
	if err != nil {
		return nil, fmt.Errorf("function %q: %w", function, err)
	}
	var into []string
	for i := range t.count() {
		found, err := t.inlines(i, wanted)
		if err != nil {
			return nil, fmt.Errorf("inline tree of function %d: %w", i, err)
		}
		if !found {
			continue
		}
		f, err := t.function(i, "")
		if err != nil {
			return nil, err
		}
		into = append(into, f.Name)
	}
	return into, nil
}

// inlines is true if the i-th function has inlined the one whose name is at the
// offset wanted.
func (t *functionTable) inlines(i uint64, wanted uint32) (bool, error) {
	start, info, err := t.entry(i)
	if err != nil {
		return false, err
	}
	end, _, err := t.entry(i + 1)
	if err != nil {
		return false, err
	}
	if end < start {
		return false, fmt.Errorf("corrupt function table: from %#x to %#x", start, end)
	}
	at := t.module.functionInfo.address + uint64(info)
	tables, err := t.image.uint32(at + funcTableCount)
	if err != nil {
		return false, err
	}
	tree, err := t.functionData(at, uint64(tables), dataInlineTree)
	if err != nil || tree == noFunctionData || tables <= tableInlineIndex {
		return false, err
	}
	index, err := t.image.uint32(at + t.funcSize() + tableInlineIndex*4)
	if err != nil || index == 0 {
		return false, err
	}
	// The tree does not say how many calls it has.
	last := int32(-1)
	err = t.eachRange(index, uint64(end-start), func(value int32, _ uint64) { last = max(last, value) })
	if err != nil {
		return false, err
	}
	if last >= maxInlined {
		return false, fmt.Errorf("corrupt inline tree: %d calls", last)
	}
	size, nameAt := t.inlinedCall()
	for call := range uint64(last + 1) {
		name, err := t.image.uint32(t.module.functionData + uint64(tree) + call*size + nameAt)
		if err != nil {
			return false, err
		}
		if name == wanted {
			return true, nil
		}
	}
	return false, nil
}

// functionData is the offset from module.functionData of the data of a kind that
// belongs to the function whose runtime._func is at address; noFunctionData if
// there is none.
func (t *functionTable) functionData(address, tables, kind uint64) (uint32, error) {
	count, err := t.image.uint8(address + t.funcSize() - 1) // nfuncdata, the last field
	if err != nil {
		return 0, err
	}
	if uint64(count) <= kind {
		return noFunctionData, nil
	}
	return t.image.uint32(address + t.funcSize() + tables*4 + kind*4)
}

// funcSize is the size of runtime._func in bytes, without the variable part.
func (t *functionTable) funcSize() uint64 {
	if t.minor < 20 {
		return 40
	}
	return 44 // startLine
}

// inlinedCall is the size of runtime.inlinedCall and where in it the name of the
// called function is, in bytes.
func (t *functionTable) inlinedCall() (size, name uint64) {
	if t.minor < 20 {
		return 20, 12
	}
	return 16, 4
}
