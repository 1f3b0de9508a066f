// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"fmt"
	"slices"
	"sort"
)

// InlinedSite is where a probe sees each call of callee that was inlined into
// caller: the first emulated instruction of its body, which must come before
// any way out of the straight line and must not be the target of a branch from
// elsewhere. The registers there hold no arguments. It fails with ErrNoSite if
// callee is not inlined there, or in several places.
func (x *Executable) InlinedSite(caller, callee string) (Site, error) {
	fail := func(err error) (Site, error) {
		return Site{}, fmt.Errorf("%q inlined into %q: %w", callee, caller, err)
	}
	f, instructions, err := x.disassemble(caller)
	if err != nil {
		return fail(err)
	}
	bodies, err := x.functions.inlinedBodies(f, callee)
	if err != nil {
		return fail(err)
	}
	if len(bodies) == 0 {
		return fail(fmt.Errorf("%w: it is not inlined there", ErrNoSite))
	}
	start := f.Address + bodies[0]
	first := slices.IndexFunc(instructions, func(in instruction) bool { return in.address >= start })
	if first < 0 || instructions[first].address != start {
		return fail(fmt.Errorf("%w: no instruction begins at %#x", ErrNoSite, start))
	}
	// A branch to the very first instruction is how the body is entered.
	targets := branchTargets(instructions)
	delete(targets, start)
	in, err := firstEmulated(instructions[first:], targets)
	if err != nil {
		return fail(err)
	}
	return x.site(f, in)
}

// StackDepth is by how much the stack pointer is lower at an address than it was
// when the function there was entered (at its first instruction), in bytes.
func (x *Executable) StackDepth(address uint64) (uint64, error) {
	f, err := x.FunctionAt(address)
	if err != nil {
		return 0, err
	}
	i, err := x.functions.index(f)
	if err != nil {
		return 0, err
	}
	_, info, err := x.functions.entry(i)
	if err != nil {
		return 0, err
	}
	offset, err := x.image.uint32(x.functions.module.functionInfo.address + uint64(info) + funcStackTable)
	if err != nil {
		return 0, err
	}
	depth, found, begin := int32(0), false, uint64(0)
	err = x.functions.eachRange(offset, f.Size, func(value int32, end uint64) {
		if at := address - f.Address; at >= begin && at < end {
			depth, found = value, true
		}
		begin = end
	})
	if err != nil {
		return 0, err
	}
	if !found || depth < 0 {
		return 0, fmt.Errorf("stack depth at %#x in %q is not known", address, f.Name)
	}
	return uint64(depth), nil
}

// index is the number of a function in the function table.
func (t *functionTable) index(f Function) (uint64, error) {
	count := int(t.count())
	var failure error
	i := sort.Search(count, func(i int) bool {
		text, _, err := t.entry(uint64(i))
		if err != nil {
			failure = err
		}
		return t.module.text+uint64(text) >= f.Address
	})
	if failure == nil && i == count {
		failure = fmt.Errorf("corrupt function table: %q is not in it", f.Name)
	}
	return uint64(i), failure
}

// inlinedBodies returns where, in bytes from the start of f, the code of each
// inlined call of callee begins, in address order.
func (t *functionTable) inlinedBodies(f Function, callee string) ([]uint64, error) {
	wanted, err := t.nameOffset(callee)
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
	at := t.module.functionInfo.address + uint64(info)
	tables, err := t.image.uint32(at + funcTableCount)
	if err != nil {
		return nil, err
	}
	tree, err := t.functionData(at, uint64(tables), dataInlineTree)
	if err != nil || tree == noFunctionData || tables <= tableInlineIndex {
		return nil, err
	}
	index, err := t.image.uint32(at + t.funcSize() + tableInlineIndex*4)
	if err != nil || index == 0 {
		return nil, err
	}
	size, nameAt := t.inlinedCall()
	starts, begin := map[int32]uint64{}, uint64(0)
	err = t.eachRange(index, f.Size, func(call int32, end uint64) {
		if _, known := starts[call]; call >= 0 && call < maxInlined && !known {
			starts[call] = begin
		}
		begin = end
	})
	if err != nil {
		return nil, err
	}
	var bodies []uint64
	for call, start := range starts {
		name, err := t.image.uint32(t.module.functionData + uint64(tree) + uint64(call)*size + nameAt)
		if err != nil {
			return nil, err
		}
		if name == wanted {
			bodies = append(bodies, start)
		}
	}
	slices.Sort(bodies)
	return bodies, nil
}
