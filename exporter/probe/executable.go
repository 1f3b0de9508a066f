// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/exporter/metric"
)

// Target is a Go executable to observe.
type Target struct {
	Path   string // names the file to the kernel while Observe runs
	File   *goexe.Executable
	Device uint64 // as the kernel writes it: major << 20 | minor
	Inode  uint64
	Number uint32 // how maps refer to the executable
}

// Executable is a Go executable that a probe is attached to. Probes at Go
// functions stand in the file, so they are in every process that executes it,
// also in those that start later.
type Executable struct {
	probe  *Probe
	target Target
	value  []byte // the entry of the executables map
	steps  []stepKey

	path     string
	links    []io.Closer
	attached []string
	sites    map[string][]goexe.Site
}

// IsGo tells whether the probe attaches to Go executables at all.
func (p *Probe) IsGo() bool {
	return slices.ContainsFunc(p.programs, func(program *program) bool { return program.IsGo() })
}

// loadGo loads a program at Go functions: for uprobe.multi (since Linux 6.6),
// which attaches and detaches all sites at once and needs no perf event, or
// else as a plain uprobe.
func (p *Probe) loadGo(result *program) {
	kinds := []string{"uprobe.multi", "uprobe"}
	if i := slices.IndexFunc(p.options.Prefer, func(kind string) bool { return slices.Contains(kinds, kind) }); i >= 0 && p.options.Prefer[i] == "uprobe" {
		slices.Reverse(kinds)
	}
	result.counter = p.takeCounter()
	for _, kind := range kinds {
		attachType := ebpf.AttachNone
		if kind == "uprobe.multi" {
			if err := p.options.Kernel.uprobeMulti(); err != nil {
				result.refused = append(result.refused, fmt.Errorf("uprobe.multi: %w", explain(err)))
				continue
			}
			attachType = ebpf.AttachTraceUprobeMulti
		}
		name, err := p.function(result.Program, result.Variants[0], 0)
		if err == nil {
			var function *ebpf.Program
			if function, err = p.loadFunction(name, attachType, result); err == nil {
				result.functions = append(result.functions, function)
				result.variant, result.multi = kind, kind == "uprobe.multi"
				return
			}
		}
		result.refused = append(result.refused, fmt.Errorf("%s: %w", kind, err))
	}
}

// Observe attaches the probe to an executable. It fails, naming the function or
// the field and the reason, if something that is not optional is missing.
func (p *Probe) Observe(t Target) (*Executable, error) {
	x := &Executable{probe: p, target: t, path: t.Path, sites: map[string][]goexe.Site{}}
	for _, program := range p.programs {
		if !program.IsGo() {
			continue
		}
		if err := x.findSites(program); err != nil && !program.Optional {
			return nil, err
		}
	}
	if err := x.fillValue(); err != nil {
		x.forgetSteps()
		return nil, err
	}
	x.target.File = nil // everything is found, and it may be megabytes
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("the probe is closed")
	}
	for _, program := range p.programs {
		if !program.IsGo() || program.OnDemand {
			continue
		}
		if err := x.attach(program); err != nil {
			x.detach()
			return nil, err
		}
	}
	p.executables[x] = struct{}{}
	return x, nil
}

// findSites finds where a program stands in the executable: every variant that
// has a place there, or needs none.
func (x *Executable) findSites(program *program) error {
	var errs []error
	for _, v := range program.Variants {
		sites, err := findSites(x.target.File, v)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x.sites[program.Name] = append(x.sites[program.Name], sites...)
	}
	if len(x.sites[program.Name]) == 0 && len(errs) > 0 {
		return fmt.Errorf("program %q: %w", program.Name, errors.Join(errs...))
	}
	return nil
}

func findSites(file *goexe.Executable, v Variant) ([]goexe.Site, error) {
	function := v.Hooks[0].Target
	switch v.At {
	case AtReturn:
		return file.ReturnSites(function)
	case AtBeforeCall:
		return file.CallSites(v.In, function)
	case AtAfterCall:
		return file.AfterCallSites(v.In, function)
	case AtBesideInlined:
		return file.CallSitesBesideInlined(v.In, function)
	case AtInlined:
		site, err := file.InlinedSite(v.In, function)
		return []goexe.Site{site}, err
	case AtClosure:
		closure, err := file.ClosureCalling(function, v.Calling)
		if err != nil {
			return nil, err
		}
		function = closure.Name
	case AtLastClosure:
		closure, err := file.LastClosureCalling(function, v.Calling)
		if err != nil {
			return nil, err
		}
		function = closure.Name
	}
	site, err := file.EntrySite(function)
	return []goexe.Site{site}, err
}

// fillValue resolves the members of the executables map from the type data of
// the executable and writes the entry.
func (x *Executable) fillValue() error {
	d := x.probe.Definition.Executable
	if d == nil {
		return nil
	}
	spec := x.probe.spec.Maps[d.Map]
	x.value = make([]byte, spec.ValueSize)
	var errs []error
	for _, member := range slices.Sorted(maps.Keys(d.Values)) {
		value := d.Values[member]
		number, err := x.resolve(value)
		if err != nil {
			if !value.Optional {
				errs = append(errs, fmt.Errorf("member %q: %w", member, err))
				continue
			}
			number = ^uint64(0)
		}
		errs = append(errs, x.setMember(spec.Value, member, number, err != nil))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// The number of the executable is the engine's to give, if the struct has room
	// for it.
	if _, err := metric.FindField("value", spec.Value, "value.id"); err == nil {
		if err := x.setMember(spec.Value, "id", uint64(x.target.Number), false); err != nil {
			return err
		}
	}
	if err := x.fillSteps(d.Unwrap); err != nil {
		return err
	}
	if err := x.probe.maps[d.Map].Put(x.key(), x.value); err != nil {
		return fmt.Errorf("write map %q: %w", d.Map, err)
	}
	return nil
}

// stepKey and step are an entry of the map of an Unwrap.
type stepKey struct{ Executable, Type uint32 }

type step struct {
	Offset uint32
	Kind   goexe.StepKind
	Next   uint32
}

// fillSteps writes how values in an interface are followed in the executable.
func (x *Executable) fillSteps(u *Unwrap) error {
	if u == nil {
		return nil
	}
	all, err := x.target.File.Unwrap(u.Interface, u.To)
	if u.Optional && (errors.Is(err, goexe.ErrNoItab) || errors.Is(err, goexe.ErrNoType)) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range all {
		key := stepKey{x.target.Number, s.Hash}
		if err := x.probe.maps[u.Map].Put(key, step{uint32(s.Offset), s.Kind, s.Next}); err != nil {
			return fmt.Errorf("write map %q: %w", u.Map, err)
		}
		x.steps = append(x.steps, key)
	}
	return nil
}

func (x *Executable) forgetSteps() {
	for _, key := range x.steps {
		// Gone already is as good.
		_ = x.probe.maps[x.probe.Definition.Executable.Unwrap.Map].Delete(key)
	}
	x.steps = nil
}

func (x *Executable) resolve(v ExecutableValue) (uint64, error) {
	switch {
	case v.StackDepth != "":
		if sites := x.sites[v.StackDepth]; len(sites) > 0 {
			return x.target.File.StackDepth(sites[0].Address)
		}
		return 0, fmt.Errorf("program %q has no site", v.StackDepth)
	case len(v.Itab) == 2:
		return x.target.File.Itab(v.Itab[0], v.Itab[1])
	}
	var errs []error
	for _, name := range v.Field {
		structType, field := splitField(name)
		offset, err := x.target.File.FieldOffset(structType, field)
		if err == nil {
			return offset, nil
		}
		errs = append(errs, err)
	}
	return 0, errors.Join(errs...)
}

// splitField splits "net/http.Request.Pattern" into the type and the field.
func splitField(name string) (structType, field string) {
	slash := strings.LastIndexByte(name, '/') + 1
	parts := strings.SplitN(name[slash:], ".", 3)
	if len(parts) < 3 {
		return name, ""
	}
	return name[:slash] + parts[0] + "." + parts[1], parts[2]
}

func (x *Executable) setMember(t btf.Type, member string, number uint64, absent bool) error {
	field, err := metric.FindField("value", t, "value."+member)
	if err != nil {
		return fmt.Errorf("executables: %w", err)
	}
	if !absent && field.Size < 8 && number >= 1<<(8*field.Size)-1 {
		return fmt.Errorf("member %q has %d bytes, too few for %d", member, field.Size, number)
	}
	raw := field.Bytes(x.value)
	switch field.Size {
	case 2:
		binary.NativeEndian.PutUint16(raw, uint16(number))
	case 4:
		binary.NativeEndian.PutUint32(raw, uint32(number))
	case 8:
		binary.NativeEndian.PutUint64(raw, number)
	default:
		return fmt.Errorf("member %q must have 2, 4 or 8 bytes, it has %d", member, field.Size)
	}
	return nil
}

func (x *Executable) key() []byte {
	key := make([]byte, 16)
	binary.NativeEndian.PutUint64(key, x.target.Device)
	binary.NativeEndian.PutUint64(key[8:], x.target.Inode)
	return key
}

// attach attaches one program at its sites; programs without sites are optional.
func (x *Executable) attach(program *program) error {
	sites := x.sites[program.Name]
	if len(sites) == 0 || slices.Contains(x.attached, program.Name) {
		return nil
	}
	if program.variant == "" {
		return fmt.Errorf("program %q is not loaded: %s", program.Name, program.why())
	}
	file, err := link.OpenExecutable(x.path)
	if err != nil {
		return fmt.Errorf("program %q: %w", program.Name, err)
	}
	offsets := make([]uint64, len(sites))
	for i, site := range sites {
		offsets[i] = site.Offset
	}
	if program.multi {
		l, err := file.UprobeMulti(nil, program.functions[0], &link.UprobeMultiOptions{Addresses: offsets})
		if err != nil {
			return fmt.Errorf("program %q: attach: %w", program.Name, explain(err))
		}
		x.links = append(x.links, l)
	} else {
		for i, offset := range offsets {
			l, err := file.Uprobe(sites[i].Function, program.functions[0], &link.UprobeOptions{Address: offset})
			if err != nil {
				return fmt.Errorf("program %q: attach: %w", program.Name, explainUprobe(err))
			}
			x.links = append(x.links, l)
		}
	}
	x.attached = append(x.attached, program.Name)
	return nil
}

// Demand attaches the on-demand programs of the probe, once. path names the
// file to the kernel now.
func (x *Executable) Demand(path string) error {
	x.probe.mu.Lock()
	defer x.probe.mu.Unlock()
	if _, observed := x.probe.executables[x]; !observed {
		return nil
	}
	x.path = path
	var errs []error
	for _, program := range x.probe.programs {
		if program.IsGo() && program.OnDemand {
			errs = append(errs, x.attach(program))
		}
	}
	return errors.Join(errs...)
}

// AddProcess tells the probe that a process executes the file, before its first
// hit would find it out. A process that executed another file before, or an
// earlier process with the same number, is forgotten: the offsets of another
// executable would make the probe read garbage.
func (x *Executable) AddProcess(tgid uint32) error {
	d := x.probe.Definition.Executable
	if d == nil || d.Processes == "" {
		return nil
	}
	processes := x.probe.maps[d.Processes]
	known := make([]byte, processes.ValueSize())
	err := processes.Lookup(tgid, known)
	if err == nil && bytes.Equal(known[:len(x.value)], x.value) {
		return nil
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read map %q: %w", d.Processes, err)
	}
	value := make([]byte, processes.ValueSize())
	copy(value, x.value)
	if err := processes.Put(tgid, value); err != nil {
		return fmt.Errorf("write map %q: %w", d.Processes, err)
	}
	return nil
}

// Sites lists where the probe stands in the executable.
func (x *Executable) Sites() []goexe.Site {
	var all []goexe.Site
	for _, program := range x.probe.programs {
		all = append(all, x.sites[program.Name]...)
	}
	return all
}

// Close detaches the probe from the executable.
func (x *Executable) Close() error {
	x.probe.mu.Lock()
	var links []io.Closer
	if _, observed := x.probe.executables[x]; observed {
		links = x.forget()
	}
	x.probe.mu.Unlock()
	closeAll(links) // outside the lock, so that several executables take as long as one
	return nil
}

// detach is Close for callers that hold the lock.
func (x *Executable) detach() { closeAll(x.forget()) }

// forget takes the executable out of the probe and returns the links to close.
func (x *Executable) forget() []io.Closer {
	links := x.links
	x.links = nil
	if d := x.probe.Definition.Executable; d != nil && x.value != nil {
		// Gone already is as good.
		_ = x.probe.maps[d.Map].Delete(x.key())
		x.forgetSteps()
	}
	delete(x.probe.executables, x)
	return links
}

// closeAll closes links at once: each waits for the kernel's grace period.
func closeAll(links []io.Closer) {
	var wait sync.WaitGroup
	for _, l := range links {
		wait.Go(func() { l.Close() })
	}
	wait.Wait()
}
