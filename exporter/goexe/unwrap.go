// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"fmt"
	"slices"
)

// StepKind is what a Step finds in the field.
type StepKind uint32

const (
	// StepInterface is an interface value, whose itab tells the next type.
	StepInterface StepKind = iota
	// StepPointer is a pointer of the type Next.
	StepPointer
	// StepEnd is a pointer to the struct that was sought.
	StepEnd
)

// Step is how to get from a value that an interface holds to what it wraps. The
// second word of such an interface value points to a struct; the field at Offset
// leads on.
type Step struct {
	Concrete string // the type that the interface holds: "*crypto/tls.Conn"
	Hash     uint32 // of that type: abi.Type.Hash, which no load bias changes
	Offset   uint64 // bytes
	Kind     StepKind
	Next     uint32 // for StepPointer: the hash of the next type
}

// Unwrap tells how to follow a value in an interface, for example net.Conn, to a
// struct that is inside of it at the end, for example net.netFD: a step for each
// type that is compiled to be converted to the interface, or to one with all its
// methods, and that leads on. A type leads on by its only field that is such an
// interface, or a pointer to a struct with all its methods, or a pointer to the
// target; fields of structs that it holds by value count as its own. Where there
// are several, the embedded one is the type's own nature and the others are not;
// without a single one the type has no step.
//
// It fails with ErrNoItab if nothing compiled converts to the interface and with
// ErrNoType if there is no such struct, both wrapped.
func (x *Executable) Unwrap(iface, target string) ([]Step, error) {
	steps, err := x.types.unwrap(iface, target)
	if err != nil {
		return nil, fmt.Errorf("unwrap %q to %q: %w", iface, target, err)
	}
	return steps, nil
}

// unwrapper is a search by Unwrap.
type unwrapper struct {
	*typeTable
	methods []string // of the interface
	target  uint64   // the struct
	able    map[uint64]bool
}

func (t *typeTable) unwrap(iface, target string) ([]Step, error) {
	at, err := t.lookup(target)
	if err != nil {
		return nil, err
	}
	u := &unwrapper{typeTable: t, target: at, able: map[uint64]bool{}}
	queue, err := u.converted(iface)
	if err != nil {
		return nil, err
	}
	var steps []Step
	for seen := map[uint64]bool{}; len(queue) > 0; queue = queue[1:] {
		concrete := queue[0]
		if seen[concrete] {
			continue
		}
		seen[concrete] = true
		found, err := u.step(concrete)
		if err != nil {
			return nil, err
		}
		if found == nil {
			continue
		}
		if found.kind == StepPointer {
			queue = append(queue, found.typ)
		}
		step, err := u.describe(concrete, found)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// converted lists the types that are converted to the interface or to one that
// has all its methods.
func (u *unwrapper) converted(iface string) ([]uint64, error) {
	concretes := map[uint64][]uint64{} // by interface type
	var interfaces []uint64
	var named uint64
	err := u.eachItab(func(address uint64) (bool, error) {
		interfaceType, err := u.image.pointer(address + itabInterface)
		if err != nil {
			return false, err
		}
		concrete, err := u.image.pointer(address + itabType)
		if err != nil {
			return false, err
		}
		if concretes[interfaceType] == nil {
			interfaces = append(interfaces, interfaceType)
			name, err := u.qualifiedName(interfaceType)
			if err != nil {
				return false, err
			}
			if name == iface {
				named = interfaceType
			}
		}
		concretes[interfaceType] = append(concretes[interfaceType], concrete)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if named == 0 {
		return nil, fmt.Errorf("%w: nothing compiled converts to it", ErrNoItab)
	}
	if u.methods, err = u.methodNames(named); err != nil {
		return nil, err
	}
	var all []uint64
	for _, interfaceType := range interfaces {
		able, err := u.implements(interfaceType)
		if err != nil {
			return nil, err
		}
		if able {
			all = append(all, concretes[interfaceType]...)
		}
	}
	return all, nil
}

// implements tells whether the type at address has all methods of the interface,
// by their names.
func (u *unwrapper) implements(address uint64) (bool, error) {
	if able, known := u.able[address]; known {
		return able, nil
	}
	names, err := u.methodNames(address)
	if err != nil {
		return false, err
	}
	able := !slices.ContainsFunc(u.methods, func(name string) bool { return !slices.Contains(names, name) })
	u.able[address] = able
	return able, nil
}

// lead is a field that leads on: its type and its offset from the start of the
// outermost struct.
type lead struct {
	typ, offset uint64
	kind        StepKind
	embedded    bool
}

// step finds how the type leads on; nil if it does not.
func (u *unwrapper) step(concrete uint64) (*lead, error) {
	kind, err := u.kind(concrete)
	if err != nil {
		return nil, err
	}
	switch kind {
	case kindPointer:
		elem, err := u.image.pointer(concrete + pointerElem)
		if err != nil {
			return nil, err
		}
		return u.only(elem)
	case kindStruct:
		found, err := u.only(concrete)
		if err != nil || found == nil {
			return nil, err
		}
		direct, err := u.isDirect(concrete)
		if err != nil || !direct {
			return found, err
		}
		// The interface holds the pointer that is all there is in the struct.
		if found.kind != StepPointer {
			return nil, nil
		}
		return u.step(found.typ)
	}
	return nil, nil
}

// isDirect tells whether an interface holds a value of the type itself and not a
// pointer to it.
func (t *typeTable) isDirect(address uint64) (bool, error) {
	if t.minor < 26 {
		kind, err := t.image.uint8(address + typeKind)
		return kind&kindDirect != 0, err
	}
	flags, err := t.image.uint8(address + typeFlags)
	return flags&flagDirect != 0, err
}

// only finds the only field by which a struct leads on; nil if it does not.
func (u *unwrapper) only(structType uint64) (*lead, error) {
	if kind, err := u.kind(structType); err != nil || kind != kindStruct {
		return nil, err
	}
	s := fieldSearch{unwrapper: u, left: maxFields}
	if err := s.search(structType, lead{embedded: true}); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(s.found, func(l lead) bool { return l.embedded }) {
		s.found = slices.DeleteFunc(s.found, func(l lead) bool { return !l.embedded })
	}
	if len(s.found) != 1 {
		return nil, nil
	}
	return &s.found[0], nil
}

// fieldSearch looks for the fields that lead on.
type fieldSearch struct {
	*unwrapper
	found []lead
	left  int // fields: structs of a corrupt file may hold each other
}

func (s *fieldSearch) search(structType uint64, outer lead) error {
	return s.eachField(structType, func(f field) (bool, error) {
		if s.left--; s.left < 0 {
			return false, fmt.Errorf("corrupt type data: struct at %#x of more than %d fields", structType, maxFields)
		}
		kind, err := s.kind(f.typ)
		if err != nil {
			return false, err
		}
		l := lead{typ: f.typ, offset: outer.offset + f.offset, embedded: outer.embedded && f.embedded}
		leads := false
		switch kind {
		case kindStruct:
			return true, s.search(f.typ, l)
		case kindInterface:
			leads, err = s.implements(f.typ)
			l.kind = StepInterface
		case kindPointer:
			l.kind, leads, err = s.pointer(f.typ)
		}
		if leads {
			s.found = append(s.found, l)
		}
		return true, err
	})
}

// pointer tells whether a field of the pointer type leads on, and to what.
func (u *unwrapper) pointer(typ uint64) (StepKind, bool, error) {
	elem, err := u.image.pointer(typ + pointerElem)
	if err != nil {
		return 0, false, err
	}
	if elem == u.target {
		return StepEnd, true, nil
	}
	kind, err := u.kind(elem)
	if err != nil || kind != kindStruct {
		return 0, false, err
	}
	able, err := u.implements(typ)
	return StepPointer, able, err
}

func (u *unwrapper) describe(concrete uint64, found *lead) (Step, error) {
	s := Step{Offset: found.offset, Kind: found.kind}
	var err error
	if s.Concrete, err = u.qualifiedName(concrete); err != nil {
		return s, err
	}
	if s.Hash, err = u.image.uint32(concrete + typeHash); err != nil || s.Kind != StepPointer {
		return s, err
	}
	s.Next, err = u.image.uint32(found.typ + typeHash)
	return s, err
}

// methodNames lists the methods of a type.
func (t *typeTable) methodNames(address uint64) ([]string, error) {
	kind, err := t.kind(address)
	if err != nil {
		return nil, err
	}
	var at, count, size uint64
	if kind == kindInterface {
		list, err := t.image.span(address+methods, imethodSize)
		if err != nil {
			return nil, err
		}
		at, count, size = list.address, list.n, imethodSize
	} else {
		flags, err := t.image.uint8(address + typeFlags)
		if err != nil || flags&flagUncommon == 0 {
			return nil, err
		}
		uncommon := address + t.uncommon(kind)
		n, err := t.image.uint16(uncommon + uncommonCount)
		if err != nil {
			return nil, err
		}
		offset, err := t.image.uint32(uncommon + uncommonMethods)
		if err != nil {
			return nil, err
		}
		at, count, size = uncommon+uint64(offset), uint64(n), methodSize
	}
	if count > maxFields {
		return nil, fmt.Errorf("type at %#x: %d methods, more than %d", address, count, maxFields)
	}
	var names []string
	for i := range count {
		offset, err := t.image.uint32(at + i*size)
		if err != nil {
			return nil, err
		}
		name, err := t.nameOffset(offset)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}
