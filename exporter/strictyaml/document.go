// SPDX-License-Identifier: Apache-2.0

// Package strictyaml decodes one YAML document into Go structs and says
// everything that is wrong with it at once: each unknown key, wrong type and
// missing value with file, line and column, and the nearest right word.
package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Document is a decoded file. It places errors that only the program can find,
// such as a name used twice, and collects them with those of the decoding.
type Document struct {
	root *Node
	errs Errors
}

// Decode decodes the YAML document in data into the value that into points to.
// The error is nil or of type Errors and holds every problem; the document is
// never nil. An empty file changes nothing.
//
// Struct fields are named by their tag, `yaml:"name"`, with the options
// ",required" and, for an embedded or named struct, ",inline"; "-" leaves a field
// out, and a field without a tag has its name in lower case. A key that is absent
// or null leaves its field as it is, so set the defaults first; a slice or map
// that is given replaces the default, and null is refused as one of its elements.
// Types that implement Unmarshaler or encoding.TextUnmarshaler decode themselves;
// time.Duration reads what ParseDuration does.
func Decode(file string, data []byte, into any) (*Document, error) {
	if v := reflect.ValueOf(into); v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("strictyaml: cannot decode into %T, need a pointer", into))
	}
	budget := maxValues
	doc := &Document{root: &Node{file: file, budget: &budget}}
	root, problem := parse(file, data)
	if problem != nil {
		doc.root.yaml = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		doc.errs = Errors{problem}
		return doc, doc.Err()
	}
	if root == nil || root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		// The empty mapping rather than null: required keys are still missed.
		root = &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	doc.root.yaml = root
	d := decoder{file: file, budget: &budget}
	d.decode(doc.root, reflect.ValueOf(into).Elem())
	doc.errs = d.errs
	budget = maxValues // For Nodes that are decoded later.
	return doc, doc.Err()
}

// Documents returns the root value of each document of a file, for formats that put
// several in one, with "---" between them. Empty ones are left out. The error is nil or of
// type Errors.
func Documents(file string, data []byte) ([]*Node, error) {
	documents, problem := parseAll(file, data, math.MaxInt)
	if problem != nil {
		return nil, Errors{problem}
	}
	var roots []*Node
	for _, document := range documents {
		budget := maxValues
		if root := (&Node{file: file, yaml: document.Content[0], budget: &budget}); root.Kind() != Null {
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// Errorf returns an error placed at a path; Node.At tells what a path is.
func (d *Document) Errorf(path, format string, args ...any) *Error {
	return d.root.At(path).Errorf(format, args...)
}

// Reportf adds a problem at a path to what Err returns, unless something in the
// value at that path has been refused already: a check of a value that could not
// be decoded says nothing of use.
func (d *Document) Reportf(path, format string, args ...any) {
	at := d.root.At(path)
	if !d.refused(at.yaml) {
		d.errs = append(d.errs, at.Errorf(format, args...))
	}
}

// Err returns everything that has been found so far as Errors, in the order of
// the file, or nil.
func (d *Document) Err() error { return d.errs.orNil() }

// refused tells whether a problem is already known in y or below.
func (d *Document) refused(y *yaml.Node) bool {
	type place struct{ line, column int }
	known := map[place]bool{}
	for _, e := range d.errs {
		known[place{e.Line, e.Column}] = true
	}
	var in func(*yaml.Node) bool
	in = func(y *yaml.Node) bool {
		return known[place{y.Line, y.Column}] || slices.ContainsFunc(y.Content, in)
	}
	return len(known) > 0 && in(y)
}
