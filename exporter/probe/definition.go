// SPDX-License-Identifier: Apache-2.0

// Package probe is the engine: it reads a probe's definition, chooses the hook
// that this kernel has, loads, attaches, detaches and accounts. A probe is a
// compiled BPF object and a YAML file that says what its programs attach to
// and which metrics its maps become; the built-in probes and a user's own go
// the same way.
package probe

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Definition is a probe's YAML file.
type Definition struct {
	Name       string              `yaml:"name,required"`
	Help       string              `yaml:"help,required"`
	Object     string              `yaml:"object"` // file beside the YAML; NAME.bpf.o where empty
	GoFunction *GoFunction         `yaml:"go_function"`
	Programs   []Program           `yaml:"programs"`
	Iterators  []Iterator          `yaml:"iterators"`
	Executable *ExecutableValues   `yaml:"executables"`
	Retire     map[string]string   `yaml:"retire"` // map to the field that is not 0 once a row is final
	Metrics    []metric.Definition `yaml:"metrics"`

	File string `yaml:"-"` // where the definition was read from
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
}

// ExecutableValue is one member: exactly one of Field, Itab and Site.
type ExecutableValue struct {
	Field    Names    `yaml:"field"`    // offset of TYPE.FIELD; the first one that there is
	Itab     []string `yaml:"itab"`     // address of the itab of [concrete type, interface]
	Site     string   `yaml:"site"`     // address of the site of a program
	Optional bool     `yaml:"optional"` // the member becomes all ones where there is none
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
	}
	if n.Kind() == strictyaml.Scalar {
		m.Hook = Names{n.Text()}
	} else if err := n.Decode(&m); err != nil {
		return err
	}
	*v = Variant{Functions: m.Function, Requires: m.Requires, At: m.At, In: m.In, Calling: m.Calling}
	for _, text := range m.Hook {
		hook, err := ParseHook(text)
		if err != nil {
			return n.At("hook").Errorf("%v", err)
		}
		v.Hooks = append(v.Hooks, hook)
	}
	if len(v.Hooks) == 0 {
		return n.Errorf("a variant needs a hook")
	}
	if len(v.Functions) > 0 && len(v.Functions) != len(v.Hooks) {
		return n.At("function").Errorf("%d hooks need %d functions, got %d", len(v.Hooks), len(v.Hooks), len(v.Functions))
	}
	return v.checkSite(n)
}

func (v *Variant) checkSite(n *strictyaml.Node) error {
	isGo := v.Hooks[0].Kind == "gouprobe"
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
	if (v.At == AtAfterCall) != (v.In != "") {
		return n.Errorf("%q goes with \"at: %s\": the function that calls", "in", AtAfterCall)
	}
	if (v.At == AtClosure) != (v.Calling != "") {
		return n.Errorf("%q goes with \"at: %s\": the function that the closure calls", "calling", AtClosure)
	}
	return nil
}

// ReadDefinition reads and checks a probe's YAML file. The error has the place
// of everything that is wrong.
func ReadDefinition(file string, data []byte) (*Definition, error) {
	d := &Definition{File: file}
	document, err := strictyaml.Decode(file, data, d)
	if err != nil {
		return nil, err
	}
	if d.GoFunction != nil {
		if err := d.expandGoFunction(document); err != nil {
			return nil, err
		}
	}
	if errs := d.check(document); len(errs) > 0 {
		return nil, errs
	}
	return d, nil
}

var (
	probeName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]*[a-z0-9]$`)
	labelName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

func (d *Definition) check(document *strictyaml.Document) strictyaml.Errors {
	var errs strictyaml.Errors
	fail := func(path, format string, args ...any) {
		errs = append(errs, document.Errorf(path, format, args...))
	}
	if !probeName.MatchString(d.Name) {
		fail("name", "probe name %q must be lower case letters, digits and underscores", d.Name)
	}
	if len(d.Programs)+len(d.Iterators) == 0 {
		fail("", "a probe needs programs, iterators or a go_function")
	}
	seen := map[string]bool{}
	for i, p := range d.Programs {
		if seen[p.Name] {
			fail(fmt.Sprintf("programs[%d].name", i), "duplicate program %q", p.Name)
		}
		seen[p.Name] = true
		if len(p.Variants) == 0 {
			fail(fmt.Sprintf("programs[%d].variants", i), "program %q needs a variant", p.Name)
			continue
		}
		for _, v := range p.Variants {
			if (v.Hooks[0].Kind == "gouprobe") != p.IsGo() {
				fail(fmt.Sprintf("programs[%d].variants", i), "program %q mixes gouprobe with kernel hooks", p.Name)
			}
		}
	}
	for i, it := range d.Iterators {
		if it.Run != AtStart && it.Run != OnScrape {
			fail(fmt.Sprintf("iterators[%d].run", i), "unknown time %q%s", it.Run, strictyaml.Suggest(it.Run, []string{AtStart, OnScrape}))
		}
		if seen[it.Name] {
			fail(fmt.Sprintf("iterators[%d].name", i), "duplicate program %q", it.Name)
		}
		seen[it.Name] = true
	}
	metrics := map[string]bool{}
	for i, m := range d.Metrics {
		at := fmt.Sprintf("metrics[%d]", i)
		if metrics[m.Name] {
			fail(at+".name", "duplicate metric %q", m.Name)
		}
		metrics[m.Name] = true
		checkMetric(m, at, fail)
	}
	return errs
}

func checkMetric(m metric.Definition, at string, fail func(path, format string, args ...any)) {
	types := []string{string(metric.Counter), string(metric.Gauge), string(metric.Histogram)}
	if !slices.Contains(types, string(m.Type)) {
		fail(at+".type", "unknown type %q%s", m.Type, strictyaml.Suggest(string(m.Type), types))
	}
	if !metricName.MatchString(m.Name) {
		fail(at+".name", "metric name %q must be lower case letters, digits and underscores", m.Name)
	}
	if total := len(m.Name) > 6 && m.Name[len(m.Name)-6:] == "_total"; m.Type == metric.Counter && !total {
		fail(at+".name", "a counter's name ends in _total: %q", m.Name+"_total")
	}
	if (m.Type == metric.Histogram) != (m.Buckets != nil) {
		fail(at+".buckets", "a histogram needs buckets, and nothing else has them")
	}
	if m.Aggregate != "" {
		aggregates := []string{string(metric.Sum), string(metric.Max), string(metric.Count), string(metric.Age)}
		if m.Type != metric.Gauge {
			fail(at+".aggregate", "only a gauge has \"aggregate\"")
		} else if !slices.Contains(aggregates, string(m.Aggregate)) {
			fail(at+".aggregate", "unknown aggregate %q%s", m.Aggregate, strictyaml.Suggest(string(m.Aggregate), aggregates))
		}
	}
	if _, ok := metric.Scales[m.Stored]; !ok {
		fail(at+".stored", "unknown unit %q%s", m.Stored, strictyaml.Suggest(m.Stored, slices.Sorted(maps.Keys(metric.Scales))[1:]))
	}
	labels := map[string]bool{}
	for i, label := range m.Labels {
		where := fmt.Sprintf("%s.labels[%d]", at, i)
		if !labelName.MatchString(label.Name) || label.Name == "le" {
			fail(where+".name", "label name %q must be lower case letters, digits and underscores, and not \"le\"", label.Name)
		}
		if labels[label.Name] {
			fail(where+".name", "duplicate label %q", label.Name)
		}
		labels[label.Name] = true
		if label.Decode != "" && !slices.Contains(metric.Decoders(), label.Decode) {
			fail(where+".decode", "unknown decoder %q%s", label.Decode, strictyaml.Suggest(label.Decode, metric.Decoders()))
		}
	}
	if m.Values != nil && labels[m.Values.Label] {
		fail(at+".values.label", "duplicate label %q", m.Values.Label)
	}
}
