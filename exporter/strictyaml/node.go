// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Unmarshaler is a type that decodes itself, for values that may be written in
// more than one way: look at Kind, then let Decode do the rest. To decode into
// the receiver itself, convert it to a type without this method, or the call
// would come back here:
//
//	func (v *Variant) UnmarshalNode(n *strictyaml.Node) error {
//		if n.Kind() == strictyaml.Scalar {
//			return n.Decode(&v.Hook)
//		}
//		type plain Variant
//		return n.Decode((*plain)(v))
//	}
//
// An *Error or Errors that it returns keeps its place; any other error is placed
// at the node. A null value never reaches UnmarshalNode: it means "absent".
type Unmarshaler interface {
	UnmarshalNode(*Node) error
}

// Kind is what a value looks like in the file.
type Kind int

// The kinds of values. An alias has the kind of what it stands for.
const (
	Null Kind = iota
	Scalar
	Mapping
	List
)

// Node is one value of the file and its place. It stays valid after Decode, so a
// program may keep it and decode it later, once it knows into what; one goroutine
// at a time for each document.
type Node struct {
	file   string
	yaml   *yaml.Node
	name   string // what messages call it: its key, with the index in a list
	depth  int
	budget *int // values that the whole document may still expand to
}

// Entry is one key of a mapping and its value.
type Entry struct {
	Key   *Node
	Value *Node
}

// Kind tells what the value looks like.
func (n *Node) Kind() Kind {
	target, _ := resolve(n.yaml)
	switch target.Kind {
	case yaml.MappingNode:
		return Mapping
	case yaml.SequenceNode:
		return List
	case yaml.ScalarNode:
		if target.ShortTag() != "!!null" {
			return Scalar
		}
	}
	return Null
}

// Text returns a scalar as the file writes it, without quotes; the empty string
// for anything else.
func (n *Node) Text() string {
	if n.Kind() != Scalar {
		return ""
	}
	target, _ := resolve(n.yaml)
	return target.Value
}

// Name is the key of the value, with the index for an element of a list
// ("ports[0]"), and empty for the document itself.
func (n *Node) Name() string { return n.name }

// Items returns the elements of a list, nil for anything else.
func (n *Node) Items() []*Node {
	if n.Kind() != List {
		return nil
	}
	target, _ := resolve(n.yaml)
	items := make([]*Node, len(target.Content))
	for i, item := range target.Content {
		items[i] = n.child(item, fmt.Sprintf("%s[%d]", n.name, i))
	}
	return items
}

// Entries returns the keys and values of a mapping in the order of the file, with
// merge keys (<<) resolved; nil for anything else. The error lists keys that
// occur twice or that are no scalars; the entries are usable all the same.
func (n *Node) Entries() ([]Entry, error) {
	d := decoder{file: n.file, budget: n.budget}
	entries := d.entries(n)
	return entries, d.errs.orNil()
}

// Decode decodes the value strictly, as the function Decode does for a document.
// The error is of type Errors.
func (n *Node) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("strictyaml: cannot decode into %T, need a pointer", into))
	}
	d := decoder{file: n.file, budget: n.budget}
	d.decode(n.child(n.yaml, n.name), v.Elem())
	return d.errs.orNil()
}

// Errorf returns an error placed at the value.
func (n *Node) Errorf(format string, args ...any) *Error {
	return &Error{n.file, max(n.yaml.Line, 1), max(n.yaml.Column, 1), fmt.Sprintf(format, args...)}
}

// At returns the value at a path such as `metrics[2].labels[0].decode`, or its
// nearest ancestor that exists. A path that ends in a colon ("collectors.skb:")
// is the key itself rather than its value. A key may be quoted as in Go, which
// %q does, if it has a dot, bracket or colon in it.
func (n *Node) At(path string) *Node {
	for path != "" && path != ":" {
		step, rest := nextStep(path)
		child := n.step(step, rest == ":")
		if child == nil {
			return n
		}
		n, path = child, rest
	}
	return n
}

// nextStep cuts the first key or "[index]" off a path.
func nextStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if quoted, err := strconv.QuotedPrefix(path); err == nil {
		key, _ := strconv.Unquote(quoted)
		return key, path[len(quoted):]
	}
	if strings.HasPrefix(path, "[") {
		if end := strings.IndexByte(path, ']'); end > 0 {
			return path[:end+1], path[end+1:]
		}
	}
	if end := strings.IndexAny(path, ".[:"); end > 0 {
		return path[:end], path[end:]
	}
	return path, ""
}

// step returns the child of that name or "[index]", nil if there is none.
func (n *Node) step(step string, key bool) *Node {
	if items := n.Items(); items != nil {
		index, err := strconv.Atoi(strings.Trim(step, "[]"))
		if err != nil || index < 0 || index >= len(items) {
			return nil
		}
		return items[index]
	}
	// Looking up a place must not use up what later decoding may need.
	budget := maxValues
	lookup := decoder{file: n.file, budget: &budget}
	for _, e := range lookup.entries(&Node{file: n.file, yaml: n.yaml, depth: n.depth, budget: &budget}) {
		if e.Key.Text() == step {
			if key {
				return e.Key
			}
			return e.Value
		}
	}
	return nil
}

func (n *Node) child(y *yaml.Node, name string) *Node {
	return &Node{file: n.file, yaml: y, name: name, depth: n.depth + 1, budget: n.budget}
}

// resolve follows aliases. The second result is false for an alias without an
// end, which yaml.v3 doesn't build but nothing rules out.
func resolve(y *yaml.Node) (*yaml.Node, bool) {
	for range 100 {
		if y.Kind != yaml.AliasNode || y.Alias == nil {
			return y, true
		}
		y = y.Alias
	}
	return y, false
}
