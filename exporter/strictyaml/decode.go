// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	// maxValues bounds what a document expands to. Ten lines of aliases to
	// aliases ("billion laughs") would otherwise fill the memory.
	maxValues = 200_000
	// maxDepth bounds nesting, and with it recursion.
	maxDepth = 100
)

// decoder collects the problems of one decoding.
type decoder struct {
	file   string
	errs   Errors
	budget *int
}

func (d *decoder) errorf(n *Node, format string, args ...any) {
	d.errs = append(d.errs, n.Errorf(format, args...))
}

// wrongType refuses n because it must be something else.
func (d *decoder) wrongType(n *Node, must string) {
	what := "the document"
	if n.name != "" {
		what = fmt.Sprintf("%q", n.name)
	}
	d.errorf(n, "%s must be %s, got %s", what, must, describe(n))
}

var (
	durationType    = reflect.TypeFor[time.Duration]()
	unmarshalerType = reflect.TypeFor[Unmarshaler]()
	textType        = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decode sets v, which is settable, from n.
func (d *decoder) decode(n *Node, v reflect.Value) {
	if !d.spend(n) || n.Kind() == Null {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		if !v.Type().Implements(unmarshalerType) && !v.Type().Implements(textType) {
			*d.budget++ // The same value, one pointer down.
			d.decode(n, v.Elem())
			return
		}
		v = v.Elem()
	}
	if v.CanAddr() {
		switch target := v.Addr().Interface().(type) {
		case Unmarshaler:
			d.add(n, target.UnmarshalNode(n))
			return
		case encoding.TextUnmarshaler:
			d.text(n, target)
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Map:
		d.mapping(n, v)
	case reflect.Slice:
		d.slice(n, v)
	case reflect.Interface:
		if v.NumMethod() != 0 {
			panic(fmt.Sprintf("strictyaml: cannot decode into %s", v.Type()))
		}
		if value := d.any(n); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	default:
		d.scalar(n, v)
	}
}

// spend accounts for one more value. It says once when the document grows beyond
// its bounds.
func (d *decoder) spend(n *Node) bool {
	if _, ends := resolve(n.yaml); !ends || n.depth > maxDepth {
		d.errorf(n, "nested deeper than %d levels", maxDepth)
		return false
	}
	*d.budget--
	if *d.budget == 0 {
		d.errorf(n, "document expands to more than %d values", maxValues)
	}
	return *d.budget > 0
}

// add keeps the places of errors that have one and places the others at n.
func (d *decoder) add(n *Node, err error) {
	var list Errors
	var one *Error
	switch {
	case err == nil:
	case errors.As(err, &list):
		d.errs = append(d.errs, list...)
	case errors.As(err, &one):
		d.errs = append(d.errs, one)
	case n.name == "":
		d.errorf(n, "%s", err)
	default:
		d.errorf(n, "%q: %s", n.name, err)
	}
}

func (d *decoder) text(n *Node, target encoding.TextUnmarshaler) {
	if n.Kind() != Scalar {
		d.wrongType(n, "a string")
		return
	}
	d.add(n, target.UnmarshalText([]byte(n.Text())))
}

// entries returns the keys and values of a mapping, merge keys resolved.
func (d *decoder) entries(n *Node) []Entry {
	if n.Kind() != Mapping {
		return nil
	}
	y, _ := resolve(n.yaml)
	var own []Entry
	seen := map[string]bool{}
	var merges []*Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := n.child(y.Content[i], n.name)
		switch {
		case y.Content[i].ShortTag() == "!!merge":
			merges = append(merges, n.child(y.Content[i+1], "<<"))
			continue
		case key.Kind() == Null && key.yaml.Kind == yaml.ScalarNode:
			d.errorf(key, "a key must not be empty")
			continue
		case key.Kind() != Scalar:
			d.errorf(key, "a key must be a word, got %s", describe(key))
			continue
		case seen[key.Text()]:
			d.errorf(key, "duplicate key %q", key.Text())
			continue
		}
		name := key.Text()
		seen[name] = true
		key.name = name
		own = append(own, Entry{Key: key, Value: n.child(y.Content[i+1], name)})
	}
	// What a mapping says itself wins over what it merges (YAML merge key
	// language-independent type, draft 2005).
	for _, merge := range merges {
		for _, e := range d.merged(merge) {
			if !seen[e.Key.Text()] {
				seen[e.Key.Text()] = true
				own = append(own, e)
			}
		}
	}
	return own
}

// merged returns the entries that the value of a merge key stands for.
func (d *decoder) merged(n *Node) []Entry {
	if !d.spend(n) {
		return nil
	}
	switch n.Kind() {
	case Mapping:
		return d.entries(n)
	case List:
		var all []Entry
		for _, item := range n.Items() {
			all = append(all, d.merged(item)...)
		}
		return all
	default:
		d.wrongType(n, "a mapping or a list of mappings")
		return nil
	}
}

func (d *decoder) structure(n *Node, v reflect.Value) {
	if n.Kind() != Mapping {
		d.wrongType(n, "a mapping")
		return
	}
	fields := fieldsOf(v.Type())
	given := map[string]bool{}
	for _, e := range d.entries(n) {
		name := e.Key.Text()
		field, known := fields.byName[name]
		if !known {
			d.errorf(e.Key, "unknown key %q%s", name, Suggest(name, fields.names))
			continue
		}
		given[name] = e.Value.Kind() != Null
		d.decode(e.Value, v.FieldByIndex(field.index))
	}
	for _, name := range fields.names {
		if fields.byName[name].required && !given[name] {
			d.errorf(n, "missing required key %q", name)
		}
	}
}

func (d *decoder) mapping(n *Node, v reflect.Value) {
	if n.Kind() != Mapping {
		d.wrongType(n, "a mapping")
		return
	}
	entries := d.entries(n)
	v.Set(reflect.MakeMapWithSize(v.Type(), min(len(entries), 1000)))
	for _, e := range entries {
		key := reflect.New(v.Type().Key()).Elem()
		if key.Kind() == reflect.String {
			// 1: and true: are fine as words.
			key.SetString(e.Key.Text())
		} else {
			before := len(d.errs)
			d.decode(e.Key, key)
			if len(d.errs) > before {
				continue
			}
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.refuseEmpty(e.Value, value)
		d.decode(e.Value, value)
		v.SetMapIndex(key, value)
	}
}

func (d *decoder) slice(n *Node, v reflect.Value) {
	if n.Kind() != List {
		d.wrongType(n, "a list")
		return
	}
	items := n.Items()
	out := reflect.MakeSlice(v.Type(), 0, min(len(items), 1000))
	for _, item := range items {
		element := reflect.New(v.Type().Elem()).Elem()
		d.refuseEmpty(item, element)
		d.decode(item, element)
		if *d.budget <= 0 {
			return
		}
		out = reflect.Append(out, element)
	}
	v.Set(out)
}

// refuseEmpty refuses an element of a list or map that is null: "absent" has no
// meaning there. Pointers and values of any type can say it themselves.
func (d *decoder) refuseEmpty(n *Node, v reflect.Value) {
	if n.Kind() == Null && n.yaml.Kind != yaml.AliasNode && v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
		d.errorf(n, "%q must not be empty", n.name)
	}
}

// any returns n as map[string]any, []any, string, bool, int, uint64 or float64.
func (d *decoder) any(n *Node) any {
	switch n.Kind() {
	case Mapping:
		var out map[string]any
		d.mapping(n, reflect.ValueOf(&out).Elem())
		return out
	case List:
		var out []any
		d.slice(n, reflect.ValueOf(&out).Elem())
		return out
	default:
		value, _ := d.value(n)
		return value
	}
}
