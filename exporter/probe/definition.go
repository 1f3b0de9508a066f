// SPDX-License-Identifier: Apache-2.0

// Package probe is the engine: it reads a probe's definition, chooses the hook
// that this kernel has, loads, attaches, detaches and accounts. A probe is a
// compiled BPF object and a YAML file that says what its programs attach to
// and which metrics its maps become; the built-in probes and a user's own go
// the same way.
package probe

import (
	"slices"

	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Definition is a probe's YAML file.
type Definition struct {
	Name       string              `yaml:"name,required"`
	Help       string              `yaml:"help,required"`
	OptIn      bool                `yaml:"opt_in"` // a built-in probe that runs only where it is asked for
	Object     string              `yaml:"object"` // file beside the YAML; NAME.bpf.o where empty
	GoFunction *GoFunction         `yaml:"go_function"`
	Needs      []string            `yaml:"needs"` // probes that fill the maps of this one, see Shared
	Options    map[string]Option   `yaml:"options"`
	Programs   []Program           `yaml:"programs"`
	Iterators  []Iterator          `yaml:"iterators"`
	Executable *ExecutableValues   `yaml:"executables"`
	Retire     map[string]string   `yaml:"retire"` // map to the field that is not 0 once a row is final
	Metrics    []metric.Definition `yaml:"metrics"`

	File string `yaml:"-"` // where the definition was read from
	// Values are those of the options: their defaults, unless Configure has set others.
	Values map[string]uint64 `yaml:"-"`

	document *strictyaml.Document
}

// errorf places an error at a path in the definition's file.
func (d *Definition) errorf(path, format string, args ...any) *strictyaml.Error {
	if d.GoFunction != nil { // the rest of it does not stand in the file
		path = "go_function"
	}
	return d.document.Errorf(path, format, args...)
}

// Program is one program and the ways to attach it.
type Program struct {
	Name     string    `yaml:"name,required"`
	Variants []Variant `yaml:"variants,required"`
	// Optional programs at Go functions may find no site in an executable.
	Optional bool `yaml:"optional"`
	// OnDemand programs at Go functions are attached when asked for.
	OnDemand bool `yaml:"on_demand"`
}

// IsGo tells whether the program attaches to Go executables.
func (p Program) IsGo() bool { return p.Variants[0].Hooks[0].Kind == "gouprobe" }

// When an iterator runs.
const (
	AtStart  = "at_start"
	OnScrape = "on_scrape"
)

// Iterator is a BPF iterator that fills maps.
type Iterator struct {
	Name string `yaml:"name,required"`
	Run  string `yaml:"run,required"` // at_start or on_scrape
	Map  string `yaml:"map"`          // what a bpf_map_elem iterator walks
}

// ExecutableValues says what a map holds of each observed Go executable.
type ExecutableValues struct {
	Map       string                     `yaml:"map,required"`    // struct executable_key to a struct
	Processes string                     `yaml:"processes"`       // process number to a struct that begins with the same
	Values    map[string]ExecutableValue `yaml:"values,required"` // member of the struct to what it is
	Unwrap    *Unwrap                    `yaml:"unwrap"`
}

// Unwrap fills a map with how to follow a value in an interface down to a struct
// that it wraps, see goexe.Unwrap. The key is the number of the executable and the
// hash of the type that the interface holds, the value the offset of the field that
// leads on, a goexe.StepKind and the hash of the next type: each a __u32.
type Unwrap struct {
	Map       string `yaml:"map,required"`
	Interface string `yaml:"interface,required"` // net.Conn
	To        string `yaml:"to,required"`        // net.netFD
	Optional  bool   `yaml:"optional"`           // an executable may lack either, and the map is empty
}

// ExecutableValue is one member: exactly one of Field, Itab and
// StackDepth.
type ExecutableValue struct {
	Field Names    `yaml:"field"` // offset of TYPE.FIELD; the first one that there is
	Itab  []string `yaml:"itab"`  // address of the itab of [concrete type, interface]
	// StackDepth is by how many bytes the stack has grown at the site of a program
	// since its function was entered.
	StackDepth string `yaml:"stack_depth"`
	Optional   bool   `yaml:"optional"` // the member becomes all ones where there is none
}

// Names is one name or a list of them.
type Names []string

// UnmarshalNode reads either form.
func (l *Names) UnmarshalNode(n *strictyaml.Node) error {
	if n.Kind() == strictyaml.Scalar {
		*l = Names{n.Text()}
		return nil
	}
	return n.Decode((*[]string)(l))
}

// GoFunction measures how long a Go function takes, without any C.
type GoFunction struct {
	Function string          `yaml:"function,required"`
	Metric   string          `yaml:"metric,required"`
	Buckets  *metric.Buckets `yaml:"buckets"`
}

// UnmarshalNode reads a variant: a hook, or a mapping.
func (v *Variant) UnmarshalNode(n *strictyaml.Node) error {
	var m struct {
		Hook     Names    `yaml:"hook,required"`
		Function Names    `yaml:"function"`
		Requires Requires `yaml:"requires"`
		At       string   `yaml:"at"`
		In       string   `yaml:"in"`
		Calling  string   `yaml:"calling"`

		Frequency string `yaml:"frequency"`
	}
	if n.Kind() == strictyaml.Scalar {
		m.Hook = Names{n.Text()}
	} else if err := n.Decode(&m); err != nil {
		return err
	}
	*v = Variant{Functions: m.Function, Requires: m.Requires, At: m.At, In: m.In, Calling: m.Calling, Frequency: m.Frequency}
	for _, text := range m.Hook {
		hook, err := ParseHook(text)
		if err != nil {
			return n.At("hook").Errorf("%v", err)
		}
		if hook.Kind == "iter" {
			return n.At("hook").Errorf("%q is an iterator, which stands under \"iterators\"", text)
		}
		v.Hooks = append(v.Hooks, hook)
	}
	if len(v.Hooks) == 0 {
		return n.Errorf("a variant needs a hook")
	}
	if len(v.Functions) > 0 && len(v.Functions) != len(v.Hooks) {
		return n.At("function").Errorf("%d hooks need %d functions, got %d", len(v.Hooks), len(v.Hooks), len(v.Functions))
	}
	samples := slices.ContainsFunc(v.Hooks, func(h Hook) bool { return h.Kind == "perf_event" })
	if samples != (v.Frequency != "") {
		return n.Errorf("\"frequency\" goes with a perf_event hook: the option that says how often a second it runs on each CPU")
	}
	return v.checkSite(n)
}

func (v *Variant) checkSite(n *strictyaml.Node) error {
	isGo := slices.ContainsFunc(v.Hooks, func(h Hook) bool { return h.Kind == "gouprobe" })
	switch {
	case !isGo && v.At != "":
		return n.At("at").Errorf("\"at\" is for gouprobe hooks")
	case !isGo:
		return nil
	case len(v.Hooks) > 1:
		return n.At("hook").Errorf("a gouprobe variant has one hook")
	case v.At == "":
		v.At = AtEntry
	case !slices.Contains(sitePlaces, v.At):
		return n.At("at").Errorf("unknown place %q%s", v.At, strictyaml.Suggest(v.At, sitePlaces))
	}
	if inCaller := slices.Contains([]string{AtBeforeCall, AtAfterCall, AtInlined, AtBesideInlined}, v.At); inCaller != (v.In != "") {
		return n.Errorf("\"in\" names the function that calls and goes with \"at: %s\", %s, %s or %s", AtBeforeCall, AtAfterCall, AtInlined, AtBesideInlined)
	}
	if closure := v.At == AtClosure || v.At == AtLastClosure; closure != (v.Calling != "") {
		return n.Errorf("%q goes with \"at: %s\" or %s: the function that the closure calls", "calling", AtClosure, AtLastClosure)
	}
	return nil
}

// ReadDefinition reads and checks a probe's YAML file. The error has the place
// of everything that is wrong.
func ReadDefinition(file string, data []byte) (*Definition, error) {
	d := &Definition{File: file}
	var err error
	if d.document, err = strictyaml.Decode(file, data, d); err != nil {
		return nil, err
	}
	if d.GoFunction != nil {
		if err := d.expandGoFunction(); err != nil {
			return nil, err
		}
	}
	if errs := d.check(); len(errs) > 0 {
		return nil, errs
	}
	d.defaults()
	return d, nil
}
