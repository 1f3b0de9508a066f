// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/metric"
)

// Options are what probes are loaded with.
type Options struct {
	Kernel      *Kernel
	Environment metric.Environment
	Log         *slog.Logger

	// RequestBuckets are the boundaries called request_buckets, in seconds.
	RequestBuckets []float64
	// NativeSchema is used where a histogram names none.
	NativeSchema histogram.Schema
	// Thresholds are the latency thresholds of all SLOs, in seconds.
	Thresholds []float64
	// Prefer puts variants of these kinds first (kprobe, fentry, uprobe, …).
	Prefer []string
	// TrapNanoseconds is what one uprobe trap costs.
	TrapNanoseconds uint64
	// MaxEntries sets the sizes of maps by name.
	MaxEntries map[string]uint32
}

// Probe is a loaded probe.
type Probe struct {
	Definition *Definition
	options    Options
	spec       *ebpf.CollectionSpec

	maps      map[string]*ebpf.Map
	swaps     map[string]*metric.Swap
	tables    []*metric.Table
	lostNames map[uint64]string

	// Everything that is attached stays referenced here: a link that is collected
	// as garbage detaches its program without a word.
	mu          sync.Mutex
	programs    []*program
	iterators   []*iterator
	executables map[*Executable]struct{}
	closed      bool
}

// program is one program of the definition in the variant that was chosen.
type program struct {
	Program
	variant   string   // "" while none is loaded
	refused   []string // the variants before it, and why not
	functions []*ebpf.Program
	links     []link.Link
	multi     bool // Go: loaded for uprobe.multi
}

type iterator struct {
	Iterator
	program *ebpf.Program
	link    *link.Iter
}

// Load loads the object of a probe and attaches what attaches to the kernel.
// A program that can't be loaded or attached does not stop the others; Status
// tells why. Load fails if nothing could be loaded at all, or if the definition
// does not fit the object.
func Load(d *Definition, object []byte, o Options) (*Probe, error) {
	p, err := prepare(d, object, o)
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// prepare checks the definition against the object and creates the maps.
func prepare(d *Definition, object []byte, o Options) (*Probe, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("%s: read object: %w", d.File, err)
	}
	p := &Probe{
		Definition: d, options: o, spec: spec,
		swaps: map[string]*metric.Swap{}, executables: map[*Executable]struct{}{},
	}
	if err := p.checkObject(); err != nil {
		return nil, err
	}
	layouts, err := p.layouts()
	if err != nil {
		return nil, err
	}
	if err := p.setVariables(); err != nil {
		return nil, err
	}
	for name, entries := range o.MaxEntries {
		if m, ok := spec.Maps[name]; ok {
			m.MaxEntries = entries
		}
	}
	if err := p.createMaps(); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.createTables(layouts); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// checkObject finds what the YAML names and the object lacks.
func (p *Probe) checkObject() error {
	d := p.Definition
	var errs []error
	for _, program := range d.Programs {
		for _, v := range program.Variants {
			for i := range v.Hooks {
				if _, err := p.function(program, v, i); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	for _, it := range d.Iterators {
		if _, ok := p.spec.Programs[it.Name]; !ok {
			errs = append(errs, fmt.Errorf("%s: iterator %q is not in the object", d.File, it.Name))
		}
	}
	named := func(kind, name string) {
		if _, ok := p.spec.Maps[name]; name != "" && !ok {
			errs = append(errs, fmt.Errorf("%s: %s needs the map %q, which is not in the object", d.File, kind, name))
		}
	}
	for _, m := range d.Metrics {
		named(fmt.Sprintf("metric %q", m.Name), m.Map)
		named(fmt.Sprintf("metric %q", m.Name), m.OverflowMap)
	}
	for _, it := range d.Iterators {
		named(fmt.Sprintf("iterator %q", it.Name), it.Map)
	}
	for name := range d.Retire {
		named("\"retire\"", name)
	}
	if d.Executable != nil {
		named("\"executables\"", d.Executable.Map)
		named("\"executables\"", d.Executable.Processes)
	}
	return errors.Join(errs...)
}

// function finds the C function of a hook: it is called like the program, or
// like the program with __ and a word behind it, and stands in the section that
// the hook names.
func (p *Probe) function(program Program, v Variant, i int) (string, error) {
	hook := v.Hooks[i]
	if len(v.Functions) > 0 {
		name := v.Functions[i]
		if _, ok := p.spec.Programs[name]; !ok {
			return "", fmt.Errorf("%s: program %q: no function %q in the object", p.Definition.File, program.Name, name)
		}
		return name, nil
	}
	var found []string
	for name, spec := range p.spec.Programs {
		base, _, _ := strings.Cut(name, "__")
		section := spec.SectionName
		if base == program.Name && (section == hook.String() || hook.Kind == "gouprobe" && section == "uprobe") {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%s: program %q: no function %q or %q in section %q of the object", p.Definition.File, program.Name, program.Name, program.Name+"__…", hook)
	}
	slices.Sort(found)
	return "", fmt.Errorf("%s: program %q: several functions for %q (%s), choose one with \"function\"", p.Definition.File, program.Name, hook, strings.Join(found, ", "))
}

// layouts computes the bucket layout of each histogram and writes its
// boundaries into the object.
func (p *Probe) layouts() (map[string]*histogram.Layout, error) {
	layouts := map[string]*histogram.Layout{}
	for _, m := range p.Definition.Metrics {
		if m.Type != metric.Histogram {
			continue
		}
		layout, err := p.layout(m)
		if err != nil {
			return nil, fmt.Errorf("%s: metric %q: %w", p.Definition.File, m.Name, err)
		}
		layouts[m.Name] = layout
	}
	return layouts, nil
}

func (p *Probe) layout(m metric.Definition) (*histogram.Layout, error) {
	name := m.Map + "_bounds"
	variable, ok := p.spec.Variables[name]
	if !ok {
		return nil, fmt.Errorf("the object has no variable %q: declare the map with HISTOGRAM(%s, …)", name, m.Map)
	}
	classic, err := m.Buckets.Boundaries()
	if m.Buckets.Name == metric.RequestBuckets {
		classic, err = p.options.RequestBuckets, nil
	}
	if err != nil {
		return nil, err
	}
	slots := int(variable.Size() / 8)
	spec := histogram.Spec{Classic: classic, UnitsPerOne: metric.Scales[m.Stored], MaxSlots: slots}
	schema := p.options.NativeSchema
	if m.Buckets.NativeSchema != nil {
		schema = *m.Buckets.NativeSchema
	}
	if spec.Native = schema.Native(); spec.Native {
		spec.NativeSchema = int(schema)
		spec.NativeMin, spec.NativeMax = m.Range()
	}
	if m.Thresholds {
		spec.Thresholds = p.options.Thresholds
	}
	layout, err := histogram.NewLayout(spec)
	if err != nil {
		return nil, err
	}
	bounds := make([]uint64, slots)
	for i := range bounds {
		bounds[i] = ^uint64(0)
	}
	copy(bounds, layout.Bounds())
	if err := variable.Set(bounds); err != nil {
		return nil, fmt.Errorf("set %q: %w", name, err)
	}
	return layout, nil
}

// setVariables fills the constants that an object may declare: the address
// ranges ksym_begin_NAME and ksym_end_NAME of kernel functions, and what a
// uprobe trap costs.
func (p *Probe) setVariables() error {
	for name, variable := range p.spec.Variables {
		var value uint64
		if symbol, ok := strings.CutPrefix(name, "ksym_begin_"); ok {
			value, _, _ = p.options.Kernel.SymbolRange(symbol)
		} else if symbol, ok := strings.CutPrefix(name, "ksym_end_"); ok {
			_, value, _ = p.options.Kernel.SymbolRange(symbol)
		} else if name == "uprobe_trap_nanoseconds" {
			value = p.options.TrapNanoseconds
		} else {
			continue
		}
		// A symbol that is missing leaves 0: the variant that requires it is refused.
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("%s: set %q: %w", p.Definition.File, name, err)
		}
	}
	return nil
}

func (p *Probe) createMaps() error {
	spec := p.spec.Copy()
	spec.Programs = nil
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: p.options.Kernel.cache})
	if err != nil {
		return fmt.Errorf("%s: create maps: %w", p.Definition.File, explain(err))
	}
	p.maps = collection.Maps
	for name, m := range p.maps {
		if m.Type() != ebpf.ArrayOfMaps {
			continue
		}
		swap, err := metric.NewSwap(m, p.spec.Maps[name].InnerMap)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Definition.File, explain(err))
		}
		p.swaps[name] = swap
	}
	return nil
}

func (p *Probe) createTables(layouts map[string]*histogram.Layout) error {
	byMap := map[string][]metric.Definition{}
	var order []string
	for _, m := range p.Definition.Metrics {
		if byMap[m.Map] == nil {
			order = append(order, m.Map)
		}
		byMap[m.Map] = append(byMap[m.Map], m)
	}
	for _, name := range order {
		spec := p.spec.Maps[name]
		source := metric.Source{Name: name, Map: p.maps[name], Swap: p.swaps[name], Retire: p.Definition.Retire[name]}
		if source.Swap != nil {
			spec = spec.InnerMap
		}
		source.Key, source.Value = spec.Key, spec.Value
		if overflow := byMap[name][0].OverflowMap; overflow != "" {
			source.Overflow = p.maps[overflow]
		}
		if source.Key == nil || source.Value == nil {
			return fmt.Errorf("%s: map %q has no type data; declare key and value with __type", p.Definition.File, name)
		}
		table, err := metric.NewTable(source, byMap[name], layouts, p.options.Environment, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Definition.File, err)
		}
		p.tables = append(p.tables, table)
	}
	return p.readLostNames()
}

// start loads the programs, attaches those of the kernel and runs the iterators
// that run at start.
func (p *Probe) start() error {
	var loaded int
	var failures []error
	for _, definition := range p.Definition.Programs {
		program := p.loadProgram(definition)
		p.programs = append(p.programs, program)
		if program.variant != "" {
			loaded++
		} else {
			failures = append(failures, fmt.Errorf("program %q: %s", definition.Name, strings.Join(program.refused, "; ")))
		}
	}
	for _, definition := range p.Definition.Iterators {
		it, err := p.loadIterator(definition)
		if err != nil {
			failures = append(failures, fmt.Errorf("iterator %q: %w", definition.Name, err))
			continue
		}
		loaded++
		p.iterators = append(p.iterators, it)
		if definition.Run == AtStart {
			if err := it.run(); err != nil {
				failures = append(failures, fmt.Errorf("iterator %q: %w", definition.Name, err))
			}
		}
	}
	if loaded == 0 {
		return fmt.Errorf("probe %q: %w", p.Definition.Name, errors.Join(failures...))
	}
	for _, failure := range failures {
		p.options.Log.Warn("a part of a probe is not available", "probe", p.Definition.Name, "reason", failure)
	}
	return nil
}

// loadProgram tries the variants in order until one works.
func (p *Probe) loadProgram(d Program) *program {
	result := &program{Program: d}
	for _, v := range prefer(d.Variants, p.options.Prefer) {
		if d.IsGo() {
			p.loadGo(result)
			return result
		}
		if err := p.tryVariant(result, v); err != nil {
			result.refused = append(result.refused, fmt.Sprintf("%s: %v", v.Name(), err))
			continue
		}
		result.variant = v.Name()
		return result
	}
	return result
}

func (p *Probe) tryVariant(result *program, v Variant) error {
	if err := p.options.Kernel.check(v); err != nil {
		return err
	}
	var functions []*ebpf.Program
	var links []link.Link
	undo := func() {
		for _, l := range links {
			l.Close()
		}
		for _, f := range functions {
			f.Close()
		}
	}
	for i, hook := range v.Hooks {
		name, err := p.function(result.Program, v, i)
		if err != nil {
			undo()
			return err
		}
		function, err := p.loadFunction(name, ebpf.AttachNone)
		if err != nil {
			undo()
			return err
		}
		functions = append(functions, function)
		attached, err := attach(hook, function)
		if err != nil {
			undo()
			return fmt.Errorf("attach: %w", explain(err))
		}
		links = append(links, attached)
	}
	result.functions, result.links = functions, links
	return nil
}

// loadFunction loads one C function against the maps that are there. attachType
// overrides the type that the section implies unless it is AttachNone.
func (p *Probe) loadFunction(name string, attachType ebpf.AttachType) (*ebpf.Program, error) {
	spec := p.spec.Copy()
	function := spec.Programs[name]
	if attachType != ebpf.AttachNone {
		function.AttachType = attachType
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: function}
	spec.Variables = nil
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: p.maps, Cache: p.options.Kernel.cache})
	if err != nil {
		return nil, explain(err)
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

func attach(hook Hook, function *ebpf.Program) (link.Link, error) {
	switch hook.Kind {
	case "tp_btf", "fentry", "fexit":
		return link.AttachTracing(link.TracingOptions{Program: function})
	case "kprobe", "kretprobe":
		if _, err := os.Stat("/sys/bus/event_source/devices/kprobe"); err != nil {
			return nil, fmt.Errorf("%w: it has no kprobes (CONFIG_KPROBE_EVENTS)", ErrUnavailable)
		}
		if hook.Kind == "kretprobe" {
			return link.Kretprobe(hook.Target, function, nil)
		}
		return link.Kprobe(hook.Target, function, nil)
	case "raw_tp":
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: hook.Target, Program: function})
	case "tracepoint":
		group, name, _ := strings.Cut(hook.Target, "/")
		if err := mountTracefs(); err != nil {
			return nil, err
		}
		return link.Tracepoint(group, name, function, nil)
	}
	return nil, fmt.Errorf("hook %q can't be attached to the kernel", hook)
}

func (p *Probe) loadIterator(d Iterator) (*iterator, error) {
	function, err := p.loadFunction(d.Name, ebpf.AttachNone)
	if err != nil {
		return nil, err
	}
	l, err := link.AttachIter(link.IterOptions{Program: function, Map: p.maps[d.Map]})
	if err != nil {
		function.Close()
		return nil, fmt.Errorf("attach: %w", explain(err))
	}
	return &iterator{d, function, l}, nil
}

// run walks everything that the iterator visits.
func (it *iterator) run() error {
	reader, err := it.link.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer reader.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := reader.Read(buffer)
		if err != nil && !isEOF(err) {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return nil
		}
	}
}

// Map returns a map of the probe by name, for programs that read more than
// metrics (a ring buffer).
func (p *Probe) Map(name string) *ebpf.Map { return p.maps[name] }

// Drain moves what a table's map has counted into user space.
func (p *Probe) Drain(name string) error {
	for _, t := range p.tables {
		if t.Name() == name {
			return t.Drain()
		}
	}
	return fmt.Errorf("no metric reads a map %q", name)
}

// Collect runs the iterators of a scrape and sends all metrics.
func (p *Probe) Collect(ch chan<- prometheus.Metric) error {
	var errs []error
	for _, it := range p.iterators {
		if it.Run == OnScrape {
			if err := it.run(); err != nil {
				errs = append(errs, fmt.Errorf("iterator %q: %w", it.Name, err))
			}
		}
	}
	for _, t := range p.tables {
		if err := t.Collect(ch); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close detaches everything and releases the maps.
func (p *Probe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	for x := range p.executables {
		x.detach()
	}
	// Each perf uprobe or trampoline waits for the kernel when it is detached: all
	// of them at once take as long as one.
	var wait sync.WaitGroup
	for _, program := range p.programs {
		for _, l := range program.links {
			wait.Go(func() { l.Close() })
		}
	}
	wait.Wait()
	for _, program := range p.programs {
		for _, f := range program.functions {
			f.Close()
		}
	}
	for _, it := range p.iterators {
		it.link.Close()
		it.program.Close()
	}
	for _, swap := range p.swaps {
		swap.Close()
	}
	for _, m := range p.maps {
		m.Close()
	}
	return nil
}
