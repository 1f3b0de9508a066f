// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// Kinds of types (internal/abi, type.go).
const (
	kindMask      = 1<<5 - 1
	kindDirect    = 1 << 5 // an interface holds the value, not a pointer to it; up to Go 1.25
	kindArray     = 17
	kindChan      = 18
	kindFunc      = 19
	kindInterface = 20
	kindMap       = 21
	kindPointer   = 22
	kindSlice     = 23
	kindStruct    = 25
	kindUnsafePtr = 26
)

// Flags of types (internal/abi, type.go, TFlag).
const (
	flagUncommon  = 1 << 0 // an UncommonType follows
	flagExtraStar = 1 << 1 // the name has a "*" too many, to share it with the pointer type
	flagNamed     = 1 << 2 // the type has a name of its own
	flagDirect    = 1 << 5 // an interface holds the value, not a pointer to it; since Go 1.26
)

// Offsets in a type descriptor, in bytes (internal/abi, type.go, Go 1.18 to
// 1.27). What follows the common part depends on the kind.
const (
	typeHash    = 16 // uint32
	typeFlags   = 20 // uint8
	typeKind    = 23 // uint8
	typeName    = 40 // int32, from types
	typeCommon  = 48
	pointerElem = 48 // *Type
	funcIn      = 48 // uint16
	funcOut     = 50 // uint16, of which the highest bit means "variadic"
	methods     = 56 // []Imethod of an interface
	fields      = 56 // []StructField of a struct
)

// nameEmbedded is the flag of the name of an embedded field (internal/abi, type.go,
// Name.IsEmbedded).
const nameEmbedded = 1 << 3

// Offsets in an UncommonType, in bytes.
const (
	uncommonCount   = 4 // uint16, of methods
	uncommonMethods = 8 // uint32, from the UncommonType
)

// Sizes in bytes.
const (
	uncommonSize = 16
	methodSize   = 16
	imethodSize  = 8
	fieldSize    = 24
)

// maxFields bounds what a struct is believed to have.
const maxFields = 1 << 16

// typeTable finds types by name in the type descriptors that the runtime needs
// for reflection, interfaces and the garbage collector.
type typeTable struct {
	image  *image
	module *moduledata
	minor  int
	links  []typelink // nil until a type is sought by name
	seed   maphash.Seed
}

// typelink is a type that reflection may have to find by its name, as it must all
// pointer types.
type typelink struct {
	offset uint32 // from types
	base   uint64 // a hash of the type's name without the package
}

func newTypeTable(img *image, m *moduledata, minor int) *typeTable {
	return &typeTable{image: img, module: m, minor: minor, seed: maphash.MakeSeed()}
}

// FieldOffset is the offset of a field from the start of a struct, in bytes. The
// struct is named by import path and name: "net/http.response". The field may be
// a path through structs that are embedded or held by value: "pfd.Sysfd".
//
// It fails with ErrNoType if the executable has no such struct and with
// ErrNoField if the struct has no such field, both wrapped.
func (x *Executable) FieldOffset(structType, field string) (uint64, error) {
	offset, err := x.types.fieldOffset(structType, field)
	if err != nil {
		return 0, fmt.Errorf("field %q of %q: %w", field, structType, err)
	}
	return offset, nil
}

func (t *typeTable) fieldOffset(structType, path string) (uint64, error) {
	at, err := t.lookup(structType)
	if err != nil {
		return 0, err
	}
	var offset uint64
	for {
		name, rest, nested := strings.Cut(path, ".")
		f, err := t.field(at, name)
		if err != nil {
			return 0, err
		}
		offset += f.offset
		if !nested {
			return offset, nil
		}
		at, path = f.typ, rest
	}
}

// field is a field of a struct: its name, its type's address and its offset in bytes.
type field struct {
	name        string
	typ, offset uint64
	embedded    bool
}

// field finds the field of the struct type at address.
func (t *typeTable) field(address uint64, name string) (field, error) {
	kind, err := t.kind(address)
	if err != nil {
		return field{}, err
	}
	if kind != kindStruct {
		typeName, err := t.qualifiedName(address)
		if err != nil {
			return field{}, err
		}
		return field{}, fmt.Errorf("%w: %q is looked for in %q, which is not a struct", ErrNoField, name, typeName)
	}
	var found *field
	err = t.eachField(address, func(f field) (bool, error) {
		if f.name == name {
			found = &f
		}
		return found == nil, nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: this release of the package has no %q", ErrNoField, name)
	}
	if err != nil {
		return field{}, err
	}
	return *found, nil
}

// eachField calls visit with each field of the struct type at address until it
// returns false or an error.
func (t *typeTable) eachField(address uint64, visit func(field) (more bool, err error)) error {
	list, err := t.image.span(address+fields, fieldSize)
	if err != nil {
		return err
	}
	if list.n > maxFields {
		return fmt.Errorf("type at %#x: %d fields, more than %d", address, list.n, maxFields)
	}
	for i := range list.n {
		f, err := t.fieldAt(list.address + i*fieldSize)
		if err != nil {
			return err
		}
		if more, err := visit(f); err != nil || !more {
			return err
		}
	}
	return nil
}

// fieldAt reads an abi.StructField.
func (t *typeTable) fieldAt(address uint64) (f field, err error) {
	nameAt, err := t.image.pointer(address)
	if err != nil {
		return f, err
	}
	if f.name, err = t.nameAt(nameAt); err != nil {
		return f, err
	}
	if f.typ, err = t.image.pointer(address + word); err != nil {
		return f, err
	}
	if f.offset, err = t.image.uint64(address + 2*word); err != nil {
		return f, err
	}
	if t.minor < 19 {
		f.embedded = f.offset&1 != 0 // reflect, offsetEmbed of Go 1.18
		f.offset >>= 1
		return f, nil
	}
	flags, err := t.image.uint8(nameAt)
	f.embedded = flags&nameEmbedded != 0
	return f, err
}

// lookup is the address of the named type that name, an import path and a name,
// stands for. In the type data it is called by the package's name instead
// ("http.response"; "gopkg.in/yaml.v3" is package yaml), which two packages may
// share. So all types of the base name are candidates, and their import paths
// decide.
func (t *typeTable) lookup(name string) (uint64, error) {
	if err := t.loadLinks(); err != nil {
		return 0, fmt.Errorf("type links: %w", err)
	}
	pkg, base := splitTypeName(name)
	if pkg == "" {
		return 0, fmt.Errorf("%w: want an import path, a dot and a name", ErrNoType)
	}
	wanted := maphash.String(t.seed, base)
	for _, l := range t.links {
		if l.base != wanted {
			continue
		}
		if at, err := t.pointedTo(l, pkg); err != nil || at != 0 {
			return at, err
		}
	}
	return 0, fmt.Errorf("%w: the package is not linked, or the type is not used as a value of its own", ErrNoType)
}

// splitTypeName splits "net/http.response" in import path and name. Type
// arguments in brackets hold dots too.
func splitTypeName(name string) (pkg, base string) {
	plain, _, _ := strings.Cut(name, "[")
	dot := strings.LastIndexByte(plain, '.')
	if dot < 0 {
		return "", name
	}
	return name[:dot], name[dot+1:]
}

// pointedTo is the address of the type that l, a pointer type, points to, if that
// is a named type of package pkg; else 0. (*T has the import path of T too, so
// **T must not pass.)
func (t *typeTable) pointedTo(l typelink, pkg string) (uint64, error) {
	at := t.module.types + uint64(l.offset)
	kind, err := t.kind(at)
	if err != nil || kind != kindPointer {
		return 0, err
	}
	elem, err := t.image.pointer(at + pointerElem)
	if err != nil {
		return 0, err
	}
	flags, err := t.image.uint8(elem + typeFlags)
	if err != nil || flags&flagNamed == 0 {
		return 0, err
	}
	path, err := t.pkgPath(elem)
	if err != nil || path != pkg {
		return 0, err
	}
	return elem, nil
}

func (t *typeTable) kind(address uint64) (uint8, error) {
	kind, err := t.image.uint8(address + typeKind)
	return kind & kindMask, err
}

// name is the type's name as reflect.Type.String gives it: "*http.response".
func (t *typeTable) name(address uint64) (string, error) {
	offset, err := t.image.uint32(address + typeName)
	if err != nil {
		return "", err
	}
	name, err := t.nameOffset(offset)
	if err != nil {
		return "", err
	}
	flags, err := t.image.uint8(address + typeFlags)
	if flags&flagExtraStar != 0 {
		name = strings.TrimPrefix(name, "*")
	}
	return name, err
}

// qualifiedName is the type's name with the import path for the package name:
// "*net/http.response". A type literal keeps the name that reflect gives it.
func (t *typeTable) qualifiedName(address uint64) (string, error) {
	kind, err := t.kind(address)
	if err != nil {
		return "", err
	}
	name, err := t.name(address)
	if err != nil {
		return "", err
	}
	if kind == kindPointer && strings.HasPrefix(name, "*") {
		elem, err := t.image.pointer(address + pointerElem)
		if err != nil {
			return "", err
		}
		elemKind, err := t.kind(elem)
		if err != nil {
			return "", err
		}
		if elemKind == kindPointer { // a chain could be a loop in a corrupt file
			return name, nil
		}
		elemName, err := t.qualifiedName(elem)
		return "*" + elemName, err
	}
	pkg, err := t.pkgPath(address)
	if err != nil || pkg == "" {
		return name, err
	}
	_, base, _ := strings.Cut(name, ".")
	return pkg + "." + base, nil
}

// pkgPath is the import path of the package that declares the type; "" for a
// predeclared type and a type literal.
func (t *typeTable) pkgPath(address uint64) (string, error) {
	flags, err := t.image.uint8(address + typeFlags)
	if err != nil || flags&flagUncommon == 0 {
		return "", err
	}
	kind, err := t.kind(address)
	if err != nil {
		return "", err
	}
	offset, err := t.image.uint32(address + t.uncommon(kind))
	if err != nil || offset == 0 {
		return "", err
	}
	return t.nameOffset(offset)
}

// uncommon is where in a descriptor of the kind the UncommonType is, that is,
// the size of what comes before it, in bytes (internal/abi, type.go and map.go).
func (t *typeTable) uncommon(kind uint8) uint64 {
	switch kind {
	case kindPointer, kindSlice, kindFunc:
		return typeCommon + 8
	case kindChan:
		return typeCommon + 16
	case kindArray:
		return typeCommon + 24
	case kindInterface, kindStruct:
		return typeCommon + 32
	case kindMap:
		switch {
		case t.minor < 24:
			return typeCommon + 40
		case t.minor < 27:
			return typeCommon + 64 // Swiss maps
		default:
			return typeCommon + 88
		}
	default:
		return typeCommon
	}
}

// nameOffset reads the name at an offset from types.
func (t *typeTable) nameOffset(offset uint32) (string, error) {
	if uint64(offset) >= t.module.etypes-t.module.types {
		return "", fmt.Errorf("corrupt type data: name at %#x of %#x bytes", offset, t.module.etypes-t.module.types)
	}
	return t.nameAt(t.module.types + uint64(offset))
}

// nameAt reads an abi.Name: a byte of flags, the length as a varint, the name. It
// is cut off at maxName bytes.
func (t *typeTable) nameAt(address uint64) (string, error) {
	n, length, err := t.image.uvarint(address + 1)
	if err != nil {
		return "", err
	}
	b, err := t.image.bytes(address+1+length, min(n, maxName))
	return string(b), err
}

// loadLinks reads the linker's table of types that reflection may have to find;
// since Go 1.27, which has none, it walks their descriptors.
func (t *typeTable) loadLinks() error {
	if t.links != nil {
		return nil
	}
	each := t.eachLink
	if t.module.typelinkBytes != 0 {
		each = t.walkLinks
	}
	links := make([]typelink, 0, t.module.typelinks.n)
	err := each(func(offset uint32) error {
		name, err := t.name(t.module.types + uint64(offset))
		if err != nil {
			return err
		}
		_, base, _ := strings.Cut(name, ".")
		links = append(links, typelink{offset, maphash.String(t.seed, base)})
		return nil
	})
	if err != nil {
		return err
	}
	t.links = links
	return nil
}

func (t *typeTable) eachLink(visit func(offset uint32) error) error {
	for i := range t.module.typelinks.n {
		offset, err := t.image.uint32(t.module.typelinks.address + i*4)
		if err != nil {
			return err
		}
		if err := visit(offset); err != nil {
			return err
		}
	}
	return nil
}

// walkLinks follows runtime.moduleTypelinks of Go 1.27: the descriptors lie one
// after the other from the second word of types on.
func (t *typeTable) walkLinks(visit func(offset uint32) error) error {
	for at := uint64(word); at < t.module.typelinkBytes; {
		if err := visit(uint32(at)); err != nil {
			return err
		}
		size, err := t.descriptorSize(t.module.types + at)
		if err != nil {
			return err
		}
		at = (at + size + word - 1) &^ (word - 1)
	}
	return nil
}

// descriptorSize is the size of a type descriptor with all that follows it, in
// bytes (internal/abi, type.go, DescriptorSize of Go 1.27).
func (t *typeTable) descriptorSize(address uint64) (uint64, error) {
	kind, err := t.kind(address)
	if err != nil {
		return 0, err
	}
	if kind == 0 || kind > kindUnsafePtr {
		return 0, fmt.Errorf("corrupt type data: kind %d at %#x", kind, address)
	}
	size := t.uncommon(kind)
	switch kind {
	case kindFunc:
		in, err := t.image.uint16(address + funcIn)
		if err != nil {
			return 0, err
		}
		out, err := t.image.uint16(address + funcOut)
		if err != nil {
			return 0, err
		}
		size += (uint64(in) + uint64(out&^(1<<15))) * word
	case kindInterface:
		list, err := t.image.span(address+methods, imethodSize)
		if err != nil {
			return 0, err
		}
		size += list.n * imethodSize
	case kindStruct:
		list, err := t.image.span(address+fields, fieldSize)
		if err != nil {
			return 0, err
		}
		size += list.n * fieldSize
	}
	flags, err := t.image.uint8(address + typeFlags)
	if err != nil {
		return 0, err
	}
	if flags&flagUncommon != 0 {
		count, err := t.image.uint16(address + t.uncommon(kind) + uncommonCount)
		if err != nil {
			return 0, err
		}
		size += uncommonSize + uint64(count)*methodSize
	}
	return size, nil
}
