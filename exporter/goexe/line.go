// SPDX-License-Identifier: Apache-2.0

package goexe

import "fmt"

// Line is where the source of the instruction at address is: the file as the
// compiler was told of it (with -trimpath, below the path of the module), and the
// line, from 1 on. It is that of an inlined function, if the instruction is one of
// its (runtime/symtab.go, funcline).
//
// It fails with ErrNoFunction, wrapped, if no function holds the address.
func (x *Executable) Line(address uint64) (file string, line int, err error) {
	file, line, err = x.functions.line(address)
	if err != nil {
		return "", 0, fmt.Errorf("line of %#x: %w", address, err)
	}
	return file, line, nil
}

func (t *functionTable) line(address uint64) (file string, line int, err error) {
	f, err := t.at(address)
	if err != nil {
		return "", 0, err
	}
	i, err := t.index(f)
	if err != nil {
		return "", 0, err
	}
	_, offset, err := t.entry(i)
	if err != nil {
		return "", 0, err
	}
	info := t.module.functionInfo.address + uint64(offset)
	number, err := t.valueAt(info+funcFileTable, f, address)
	if err != nil {
		return "", 0, err
	}
	at, err := t.valueAt(info+funcLineTable, f, address)
	if err != nil {
		return "", 0, err
	}
	unit, err := t.image.uint32(info + funcUnit)
	if err != nil {
		return "", 0, err
	}
	place := uint64(unit) + uint64(uint32(number))
	if number < 0 || at < 0 || place >= t.module.units.n {
		return "", 0, fmt.Errorf("corrupt function table: file %d of unit %d, line %d", number, unit, at)
	}
	name, err := t.image.uint32(t.module.units.address + 4*place)
	if err != nil {
		return "", 0, err
	}
	file, err = t.text(t.module.files, name)
	return file, int(at), err
}

// valueAt is the value for an address in one of a function's tables by program
// counter, whose offset is at the given place.
func (t *functionTable) valueAt(place uint64, f Function, address uint64) (int32, error) {
	offset, err := t.image.uint32(place)
	if err != nil {
		return 0, err
	}
	if offset == 0 || uint64(offset) >= t.module.pcTables.n {
		return 0, fmt.Errorf("function %q has no table of lines", f.Name)
	}
	found, value := false, int32(0)
	err = t.eachRange(offset, f.Size, func(v int32, end uint64) {
		if !found && address < f.Address+end {
			found, value = true, v
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("corrupt program counter table at %#x: it ends before %#x", offset, address)
	}
	return value, err
}
