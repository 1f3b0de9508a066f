// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"fmt"
	"strings"
)

// Frame is a call as a traceback shows it.
type Frame struct {
	Function string // without type arguments: "main.run[...]"
	File     string // as Line has it
	Line     int
}

// Frames is the calls that the instruction at address is in, the innermost first: those
// that were inlined, and the function itself (runtime/symtabinl.go). Wrappers that the
// compiler has made are left out, as in a traceback. For a return address, ask for the
// byte before it, which is of the call.
//
// It fails with ErrNoFunction, wrapped, if no function holds the address.
func (x *Executable) Frames(address uint64) ([]Frame, error) {
	calls, err := x.functions.calls(address)
	if err != nil {
		return nil, fmt.Errorf("frames of %#x: %w", address, err)
	}
	var frames []Frame
	for _, c := range calls {
		if c.kind != x.functions.wrapper() {
			frames = append(frames, c.Frame)
		}
	}
	return frames, nil
}

// call is a call that an instruction belongs to.
type call struct {
	Frame
	kind    uint8 // funcID
	inlined bool
	parent  uint64 // if it is inlined: where it is called, in bytes from the beginning of the function that holds it
}

// maxDepth bounds how deeply calls are believed to be inlined in each other.
const maxDepth = 1000

// calls is Frames with the wrappers.
func (t *functionTable) calls(address uint64) ([]call, error) {
	f, err := t.at(address)
	if err != nil {
		return nil, err
	}
	i, err := t.index(f)
	if err != nil {
		return nil, err
	}
	_, info, err := t.entry(i)
	if err != nil {
		return nil, err
	}
	var all []call
	for range maxDepth {
		c, err := t.callAt(f, info, address)
		if err != nil {
			return nil, err
		}
		if c.File, c.Line, err = t.line(address); err != nil {
			return nil, err
		}
		c.Function = WithoutTypeArguments(c.Function)
		all = append(all, c)
		if !c.inlined {
			return all, nil
		}
		address = f.Address + c.parent
	}
	return nil, fmt.Errorf("corrupt inline tree: more than %d calls in each other", maxDepth)
}

// wrapper is the funcID of what the compiler makes to call something else: the last one
// that there is (internal/abi, FuncIDWrapper).
func (t *functionTable) wrapper() uint8 {
	switch {
	case t.minor < 22:
		return 21
	case t.minor < 25:
		return 22
	}
	return 23
}

// callAt is the innermost call at an address in a function, without its line.
func (t *functionTable) callAt(f Function, info uint32, address uint64) (c call, err error) {
	tree, err := t.inlinedAt(f, info, address)
	if err != nil {
		return c, err
	}
	if tree == 0 {
		at := t.module.functionInfo.address + uint64(info)
		c.Function = f.Name
		c.kind, err = t.image.uint8(at + t.funcSize() - 4) // funcID, the fourth byte from the end
		return c, err
	}
	c.inlined = true
	_, nameAt := t.inlinedCall()
	if c.kind, err = t.image.uint8(tree + t.inlinedKind()); err != nil {
		return c, err
	}
	name, err := t.image.uint32(tree + nameAt)
	if err != nil {
		return c, err
	}
	parent, err := t.image.uint32(tree + nameAt + 4) // parentPc comes behind the name
	if err != nil {
		return c, err
	}
	c.parent = uint64(parent)
	c.Function, err = t.name(name)
	return c, err
}

// inlinedAt is where the runtime.inlinedCall is that the instruction at address belongs
// to, or 0 if it is not inlined.
func (t *functionTable) inlinedAt(f Function, info uint32, address uint64) (uint64, error) {
	at := t.module.functionInfo.address + uint64(info)
	tables, err := t.image.uint32(at + funcTableCount)
	if err != nil || tables <= tableInlineIndex {
		return 0, err
	}
	tree, err := t.functionData(at, uint64(tables), dataInlineTree)
	if err != nil || tree == noFunctionData {
		return 0, err
	}
	place := at + t.funcSize() + tableInlineIndex*4
	if offset, err := t.image.uint32(place); err != nil || offset == 0 {
		return 0, err
	}
	index, err := t.valueAt(place, f, address)
	if err != nil || index < 0 {
		return 0, err
	}
	size, _ := t.inlinedCall()
	return t.module.functionData + uint64(tree) + uint64(index)*size, nil
}

// inlinedKind is where in a runtime.inlinedCall its funcID is, in bytes.
func (t *functionTable) inlinedKind() uint64 {
	if t.minor < 20 {
		return 2
	}
	return 0
}

// WithoutTypeArguments makes "main.run[...]" of "main.run[go.shape.int]", as a
// traceback does (runtime/traceback.go, printFuncName).
func WithoutTypeArguments(name string) string {
	begin, end := strings.IndexByte(name, '['), strings.LastIndexByte(name, ']')
	if begin < 0 || end < begin {
		return name
	}
	return name[:begin] + "[...]" + name[end+1:]
}
