// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// ErrNoField is returned for a field that a map's key or value does not have.
var ErrNoField = errors.New("no such field")

// Field is a part of a map's key or value, found by name in the object's BTF
// so that nobody has to count bytes or padding.
type Field struct {
	Name   string
	Offset uint32 // bytes
	Size   uint32 // bytes
	Type   btf.Type
	bits   btf.Bits // of a bit field
}

// Bytes returns the field's part of a key or value.
func (f Field) Bytes(raw []byte) []byte { return raw[f.Offset : f.Offset+f.Size] }

// Signed tells whether the field is a number that may be below zero.
func (f Field) Signed() bool {
	switch t := btf.UnderlyingType(f.Type).(type) {
	case *btf.Int:
		return t.Encoding == btf.Signed
	case *btf.Enum:
		return t.Signed
	}
	return false
}

// FindField finds "root", or "root.member" and so on, in a type. A member of a
// nested struct may be named without the way to it as long as only one has
// that name. The error lists the fields that there are.
func FindField(root string, t btf.Type, path string) (Field, error) {
	size, err := btf.Sizeof(t)
	if err != nil {
		return Field{}, fmt.Errorf("size of %s: %w", root, err)
	}
	field := Field{Name: path, Size: uint32(size), Type: t}
	if path == root {
		return field, nil
	}
	rest, ok := strings.CutPrefix(path, root+".")
	if !ok {
		return Field{}, fmt.Errorf("%w: %q must be %q or begin with %q", ErrNoField, path, root, root+".")
	}
	for _, name := range strings.Split(rest, ".") {
		found := membersNamed(field.Type, name, 0, true)
		if len(found) == 0 {
			found = membersNamed(field.Type, name, 0, false)
		}
		switch len(found) {
		case 0:
			return Field{}, fmt.Errorf("%w: %q, there is: %s", ErrNoField, path, strings.Join(FieldNames(root, t), ", "))
		case 1:
		default:
			return Field{}, fmt.Errorf("%w: %q is ambiguous, there is: %s", ErrNoField, path, strings.Join(FieldNames(root, t), ", "))
		}
		if found[0].bits > 0 {
			return Field{}, fmt.Errorf("%w: %q is a bit field; give it bytes of its own", ErrNoField, path)
		}
		size, err := btf.Sizeof(found[0].Type)
		if err != nil {
			return Field{}, fmt.Errorf("size of %q: %w", path, err)
		}
		field.Offset += found[0].Offset
		field.Size, field.Type = uint32(size), found[0].Type
	}
	return field, nil
}

// membersNamed returns the members with a name, either of the struct itself
// (and of the anonymous structs in it) or of any struct below it.
func membersNamed(t btf.Type, name string, base uint32, direct bool) []Field {
	var found []Field
	for _, member := range members(t) {
		offset := base + member.Offset.Bytes()
		if member.Name == name {
			found = append(found, Field{Offset: offset, Type: member.Type, bits: member.BitfieldSize})
		} else if member.Name == "" || !direct {
			found = append(found, membersNamed(member.Type, name, offset, direct)...)
		}
	}
	return found
}

func members(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

// FieldNames lists the paths of all fields of a type.
func FieldNames(root string, t btf.Type) []string {
	names := []string{root}
	for _, member := range members(t) {
		if member.Name == "" { // its members are named as if they were this type's own
			names = append(names, FieldNames(root, member.Type)[1:]...)
			continue
		}
		names = append(names, FieldNames(root+"."+member.Name, member.Type)...)
	}
	return names
}
