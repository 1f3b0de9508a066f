// SPDX-License-Identifier: Apache-2.0

package goexe

import "fmt"

// Itab is the table by which an interface value knows its concrete type; its
// address is the first word of such a value. Only itabs that the compiler made
// are in the file: the runtime makes others when a conversion first needs them.
type Itab struct {
	Concrete string // "*net/http.response"
	Address  uint64 // virtual address in the file, before the load bias
}

// Offsets in an itab, in bytes (internal/abi, iface.go).
const (
	itabInterface = 0  // *InterfaceType
	itabType      = 8  // *Type
	itabMethods   = 24 // one word for each method
)

// Itab is the address of the itab of a concrete type, for example
// "*net/http.response", in an interface type, for example
// "net/http.ResponseWriter". It fails with ErrNoItab, wrapped, if nothing
// compiled converts the one to the other.
func (x *Executable) Itab(concrete, iface string) (uint64, error) {
	var address uint64
	err := x.types.itabs(iface, func(itab Itab) bool {
		if itab.Concrete == concrete {
			address = itab.Address
		}
		return address == 0
	})
	if err == nil && address == 0 {
		err = fmt.Errorf("%w: nothing compiled converts to it", ErrNoItab)
	}
	if err != nil {
		return 0, fmt.Errorf("itab of %q in %q: %w", concrete, iface, err)
	}
	return address, nil
}

// Itabs is the itabs of all concrete types in an interface type, in the order of
// the file.
func (x *Executable) Itabs(iface string) ([]Itab, error) {
	var all []Itab
	err := x.types.itabs(iface, func(itab Itab) bool {
		all = append(all, itab)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("itabs in %q: %w", iface, err)
	}
	return all, nil
}

// itabs calls found with each itab of the interface until it returns false.
func (t *typeTable) itabs(iface string, found func(Itab) bool) error {
	wanted := map[uint64]bool{} // by address of the interface type
	return t.eachItab(func(address uint64) (bool, error) {
		interfaceType, err := t.image.pointer(address + itabInterface)
		if err != nil {
			return false, err
		}
		want, known := wanted[interfaceType]
		if !known {
			name, err := t.qualifiedName(interfaceType)
			if err != nil {
				return false, err
			}
			want = name == iface
			wanted[interfaceType] = want
		}
		if !want {
			return true, nil
		}
		concreteType, err := t.image.pointer(address + itabType)
		if err != nil {
			return false, err
		}
		concrete, err := t.qualifiedName(concreteType)
		if err != nil {
			return false, err
		}
		return found(Itab{Concrete: concrete, Address: address}), nil
	})
}

// eachItab calls visit with the address of each itab until it returns false or
// an error.
func (t *typeTable) eachItab(visit func(address uint64) (more bool, err error)) error {
	for i := range t.module.itablinks.n {
		address, err := t.image.pointer(t.module.itablinks.address + i*word)
		if err != nil {
			return err
		}
		if more, err := visit(address); err != nil || !more {
			return err
		}
	}
	// Since Go 1.27 they lie in a row (runtime/iface.go, addModuleItabs).
	start := t.module.types + t.module.itabOffset
	for address := start; address < start+t.module.itabsLength; {
		if more, err := visit(address); err != nil || !more {
			return err
		}
		interfaceType, err := t.image.pointer(address + itabInterface)
		if err != nil {
			return err
		}
		list, err := t.image.span(interfaceType+methods, imethodSize)
		if err != nil {
			return err
		}
		if list.n == 0 {
			return fmt.Errorf("corrupt type data: itab at %#x of an interface without methods", address)
		}
		address += itabMethods + list.n*word
	}
	return nil
}
