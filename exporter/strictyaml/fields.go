// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// field is where the value of a key goes in a struct.
type field struct {
	index    []int
	required bool
}

type fields struct {
	names  []string // in the order of the struct, for messages
	byName map[string]field
}

var fieldCache sync.Map // reflect.Type → *fields

// fieldsOf returns the keys of a struct. A tag that is no good is a mistake of
// the programmer and panics.
func fieldsOf(t reflect.Type) *fields {
	if cached, ok := fieldCache.Load(t); ok {
		return cached.(*fields)
	}
	f := &fields{byName: map[string]field{}}
	f.collect(t, nil)
	fieldCache.Store(t, f)
	return f
}

func (f *fields) collect(t reflect.Type, parent []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := strings.Split(sf.Tag.Get("yaml"), ",")
		index := append(slices.Clone(parent), i)
		switch {
		case tag[0] == "-":
			continue
		case slices.Contains(tag[1:], "inline"):
			if sf.Type.Kind() != reflect.Struct {
				panic(fmt.Sprintf("strictyaml: %s.%s: only a struct can be inline", t, sf.Name))
			}
			f.collect(sf.Type, index)
			continue
		case !sf.IsExported():
			continue
		}
		name := tag[0]
		if name == "" {
			name = strings.ToLower(sf.Name)
		}
		if _, twice := f.byName[name]; twice {
			panic(fmt.Sprintf("strictyaml: %s has key %q twice", t, name))
		}
		f.names = append(f.names, name)
		f.byName[name] = field{index: index, required: slices.Contains(tag[1:], "required")}
	}
}
