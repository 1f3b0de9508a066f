// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	dto "github.com/prometheus/client_model/go"

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
	// Shared is the same for all probes of a set, or nil for a probe alone.
	Shared *Shared
}

// Probe is a loaded probe.
type Probe struct {
	Definition *Definition
	options    Options
	spec       *ebpf.CollectionSpec

	maps      map[string]*ebpf.Map
	adopted   map[string]*ebpf.Map // of them, those that another probe made
	swaps     map[string]*metric.Swap
	tables    []*metric.Table
	lostNames map[uint64]string
	counts    *counts
	counters  int // of counts that are taken

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
	variant   string  // "" while none is loaded
	refused   []error // the variants before it, and why not
	counter   int     // in counts; all its functions have this one
	functions []*ebpf.Program
	links     []io.Closer
	multi     bool // Go: loaded for uprobe.multi
}

// why tells in one line why no variant of the program works here.
func (p *program) why() string {
	texts := make([]string, len(p.refused))
	for i, err := range p.refused {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

type iterator struct {
	Iterator
	program *ebpf.Program
	link    *link.Iter
}

// Load loads the object of a probe and attaches what attaches to the kernel.
// A program that can't be loaded or attached does not stop the others; Status
// tells why. Load fails if nothing could be loaded at all although this kernel
// offers it, or if the definition does not fit the object.
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

// CheckBuckets tells whether the object of a probe has room for the buckets of its
// histograms, by RequestBuckets, NativeSchema and Thresholds of the options. It needs
// no kernel and no privilege.
func CheckBuckets(d *Definition, object []byte, o Options) error {
	p, err := read(d, object, o)
	if err != nil {
		return err
	}
	_, err = p.layouts()
	return err
}

// read reads the object and checks the definition against it.
func read(d *Definition, object []byte, o Options) (*Probe, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("%s: read object: %w", d.File, err)
	}
	if o.Shared == nil {
		o.Shared = &Shared{Running: []string{d.Name}}
	}
	p := &Probe{
		Definition: d, options: o, spec: spec,
		swaps: map[string]*metric.Swap{}, executables: map[*Executable]struct{}{},
	}
	return p, p.checkObject()
}

// prepare checks the definition against the object and creates the maps.
func prepare(d *Definition, object []byte, o Options) (*Probe, error) {
	p, err := read(d, object, o)
	if err != nil {
		return nil, err
	}
	spec := p.spec
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
	variants := 0
	for _, program := range d.Programs {
		variants += len(program.Variants)
	}
	if p.counts, err = newCounts(d.Name, variants); err != nil {
		p.Close()
		return nil, fmt.Errorf("%s: %w", d.File, err)
	}
	return p, nil
}

// start loads the programs, attaches those of the kernel and runs the iterators
// that run at start.
func (p *Probe) start() error {
	var loaded int
	var failures []error
	unavailable := true // and nothing worse
	for _, definition := range p.Definition.Programs {
		program := p.loadProgram(definition)
		p.programs = append(p.programs, program)
		if program.variant != "" {
			loaded++
		} else {
			failures = append(failures, fmt.Errorf("program %q: %s", definition.Name, program.why()))
			for _, err := range program.refused {
				unavailable = unavailable && errors.Is(err, ErrUnavailable)
			}
		}
	}
	for _, definition := range p.Definition.Iterators {
		it, err := p.loadIterator(definition)
		if err != nil {
			failures = append(failures, fmt.Errorf("iterator %q: %w", definition.Name, err))
			unavailable = unavailable && errors.Is(err, ErrUnavailable)
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
	if loaded == 0 && !unavailable {
		return fmt.Errorf("probe %q: %w", p.Definition.Name, errors.Join(failures...))
	}
	// All is loaded that ever will be; what is left to do needs types alone.
	p.spec.Programs, p.spec.Variables = nil, nil
	p.options.Environment.KernelBTF = nil
	for _, failure := range failures {
		p.options.Log.Info("a part of a probe is not available", "probe", p.Definition.Name, "reason", failure)
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
			result.refused = append(result.refused, fmt.Errorf("%s: %w", v.Name(), err))
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
	// A variant that attaches in part before it is refused may have run.
	result.counter = p.takeCounter()
	var functions []*ebpf.Program
	var links []io.Closer
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
		function, err := p.loadFunction(name, ebpf.AttachNone, result)
		if err != nil {
			undo()
			return err
		}
		functions = append(functions, function)
		attached, err := attach(hook, function, p.Definition.Values[v.Frequency])
		if err != nil {
			undo()
			return fmt.Errorf("attach: %w", explain(err))
		}
		links = append(links, attached)
	}
	result.functions, result.links = functions, links
	return nil
}

// takeCounter returns one that no program has had. There is one for each variant.
func (p *Probe) takeCounter() int {
	p.counters++
	return p.counters - 1
}

// loadFunction loads one C function against the maps that are there. attachType
// overrides the type that the section implies unless it is AttachNone. The runs of a
// function of a program are counted, and the kernel gets to know it by the program's
// name.
func (p *Probe) loadFunction(name string, attachType ebpf.AttachType, of *program) (*ebpf.Program, error) {
	spec := p.spec.Copy()
	function := spec.Programs[name]
	if attachType != ebpf.AttachNone {
		function.AttachType = attachType
	}
	if of != nil {
		function.Name = of.Name
		function.Instructions = p.counts.add(function.Instructions, of.counter)
	}
	if strings.HasPrefix(function.SectionName, "uprobe") && p.options.Kernel.hasPrivateStacks() {
		function.Instructions = withOwnStack(function.Instructions)
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: function}
	spec.Variables = nil
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone // but shared, see Shared
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: p.maps, Cache: p.options.Kernel.cache})
	if err != nil {
		return nil, explain(err)
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

// attach attaches a function to the kernel until what it returns is closed. frequency is
// that of perf_event hooks, in Hz.
func attach(hook Hook, function *ebpf.Program, frequency uint64) (io.Closer, error) {
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
	case "perf_event":
		return attachClock(function, frequency)
	}
	return nil, fmt.Errorf("hook %q can't be attached to the kernel", hook)
}

func (p *Probe) loadIterator(d Iterator) (*iterator, error) {
	function, err := p.loadFunction(d.Name, ebpf.AttachNone, nil)
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

// Rows reads a map of the probe. visit gets numbers of each row: the fields with the
// paths, such as key.tgid or value.started_at.
func (p *Probe) Rows(name string, paths []string, visit func(numbers []uint64)) error {
	spec, m := p.spec.Maps[name], p.maps[name]
	if spec == nil || m == nil {
		return fmt.Errorf("probe %q has no map %q", p.Definition.Name, name)
	}
	return metric.Rows(m, spec.Key, spec.Value, paths, visit)
}

// Swap makes the maps of an array of maps that no metric reads, for a reader that empties
// it otherwise. They live as long as the probe.
func (p *Probe) Swap(name string) (*metric.Swap, error) {
	spec, m := p.spec.Maps[name], p.maps[name]
	if spec == nil || m == nil || p.swaps[name] != nil {
		return nil, fmt.Errorf("probe %q has no map %q that nobody reads", p.Definition.Name, name)
	}
	swap, err := metric.NewSwap(m, spec.InnerMap)
	if err == nil {
		p.swaps[name] = swap
	}
	return swap, err
}

// Drain moves what a table's map has counted into user space.
func (p *Probe) Drain(name string) error {
	for _, t := range p.tables {
		if t.Name() == name {
			return t.Drain()
		}
	}
	return fmt.Errorf("no metric reads a map %q", name)
}

// Gather runs the iterators of a scrape and returns all metrics that read maps.
// What it returns is valid until the next call.
func (p *Probe) Gather() ([]*dto.MetricFamily, error) {
	var errs []error
	for _, it := range p.iterators {
		if it.Run == OnScrape {
			if err := it.run(); err != nil {
				errs = append(errs, fmt.Errorf("iterator %q: %w", it.Name, err))
			}
		}
	}
	var gathered []*dto.MetricFamily
	for _, t := range p.tables {
		families, err := t.Gather()
		gathered, errs = append(gathered, families...), append(errs, err)
	}
	return gathered, errors.Join(errs...)
}

// Close detaches everything and releases the maps.
func (p *Probe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	// Each link waits for the kernel when it is closed: all of them at once take as
	// long as the slowest one.
	var links []io.Closer
	for _, program := range p.programs {
		links = append(links, program.links...)
	}
	for x := range p.executables {
		links = append(links, x.forget()...)
	}
	closeAll(links)
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
	if p.counts != nil {
		p.counts.Close()
	}
	return nil
}
