// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// checkObject finds what the YAML names and the object lacks.
func (p *Probe) checkObject() error {
	d := p.Definition
	var errs strictyaml.Errors
	for i, program := range d.Programs {
		for j, v := range program.Variants {
			for k := range v.Hooks {
				if _, err := p.function(program, v, k); err != nil {
					errs = append(errs, d.errorf(fmt.Sprintf("programs[%d].variants[%d]", i, j), "%v", err))
				}
			}
		}
	}
	needs := func(path, name string) {
		if _, ok := p.spec.Maps[name]; name != "" && !ok {
			errs = append(errs, d.errorf(path, "the object has no map %q%s", name, strictyaml.Suggest(name, p.mapNames())))
		}
	}
	for i, it := range d.Iterators {
		at := fmt.Sprintf("iterators[%d]", i)
		if _, ok := p.spec.Programs[it.Name]; !ok {
			errs = append(errs, d.errorf(at+".name", "the object has no iterator %q", it.Name))
		}
		needs(at+".map", it.Map)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Options)) {
		if err := checkOption(name, p.spec.Variables); err != nil {
			errs = append(errs, d.errorf(fmt.Sprintf("options.%q:", name), "%v", err))
		}
	}
	read := map[string]bool{}
	for i, m := range d.Metrics {
		at := fmt.Sprintf("metrics[%d]", i)
		needs(at+".map", m.Map)
		needs(at+".overflow_map", m.OverflowMap)
		read[m.Map] = true
	}
	for _, name := range slices.Sorted(maps.Keys(d.Retire)) {
		if !read[name] {
			errs = append(errs, d.errorf(fmt.Sprintf("retire.%q:", name), "no metric reads a map %q", name))
		}
	}
	if d.Executable != nil {
		needs("executables.map", d.Executable.Map)
		needs("executables.processes", d.Executable.Processes)
		if u := d.Executable.Unwrap; u != nil {
			needs("executables.unwrap.map", u.Map)
			if m := p.spec.Maps[u.Map]; m != nil && (int(m.KeySize) != binary.Size(stepKey{}) || int(m.ValueSize) != binary.Size(step{})) {
				errs = append(errs, d.errorf("executables.unwrap.map", "map %q must have keys of %d bytes and values of %d, it has %d and %d",
					u.Map, binary.Size(stepKey{}), binary.Size(step{}), m.KeySize, m.ValueSize))
			}
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// mapNames lists the maps of the object without those of the compiler (.rodata).
func (p *Probe) mapNames() []string {
	names := slices.Sorted(maps.Keys(p.spec.Maps))
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, ".") })
}

// function finds the C function of a hook: it is called like the program, or
// like the program with __ and a word behind it, and stands in the section that
// the hook names.
func (p *Probe) function(program Program, v Variant, i int) (string, error) {
	hook := v.Hooks[i]
	section := hook.section()
	if len(v.Functions) > 0 {
		name := v.Functions[i]
		if _, ok := p.spec.Programs[name]; !ok {
			return "", fmt.Errorf("program %q: no function %q in the object", program.Name, name)
		}
		return name, nil
	}
	var found []string
	for name, spec := range p.spec.Programs {
		base, _, _ := strings.Cut(name, "__")
		if base == program.Name && spec.SectionName == section {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("program %q: no function %q or %q in section %q of the object", program.Name, program.Name, program.Name+"__…", section)
	}
	slices.Sort(found)
	return "", fmt.Errorf("program %q: several functions for %q (%s), choose one with \"function\"", program.Name, hook, strings.Join(found, ", "))
}

// layouts computes the bucket layout of each histogram and writes its
// boundaries into the object.
func (p *Probe) layouts() (map[string]*histogram.Layout, error) {
	layouts := map[string]*histogram.Layout{}
	for i, m := range p.Definition.Metrics {
		if m.Type != metric.Histogram {
			continue
		}
		layout, err := p.layout(m)
		if err != nil {
			return nil, p.Definition.errorf(fmt.Sprintf("metrics[%d].buckets", i), "metric %q: %v", m.Name, err)
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
	if p.spec.Maps[m.Map].Pinning == ebpf.PinByName {
		if p.options.Shared.bounds == nil {
			p.options.Shared.bounds = map[string][]uint64{}
		}
		p.options.Shared.bounds[name] = bounds
	}
	if err := variable.Set(bounds); err != nil {
		return nil, fmt.Errorf("set %q: %w", name, err)
	}
	return layout, nil
}

// setVariables fills the constants that an object may declare: the address
// ranges ksym_begin_NAME and ksym_end_NAME of kernel functions, what a uprobe trap
// costs, which other collectors run, the boundaries of histograms that another
// probe publishes, and the options.
func (p *Probe) setVariables() error {
	for name, variable := range p.spec.Variables {
		if bounds, ok := p.options.Shared.bounds[name]; ok {
			if err := variable.Set(bounds); err != nil {
				return fmt.Errorf("%s: set %q: %w", p.Definition.File, name, err)
			}
			continue
		}
		var value uint64
		if symbol, ok := strings.CutPrefix(name, "ksym_begin_"); ok {
			value, _, _ = p.options.Kernel.SymbolRange(symbol)
		} else if symbol, ok := strings.CutPrefix(name, "ksym_end_"); ok {
			_, value, _ = p.options.Kernel.SymbolRange(symbol)
		} else if name == "uprobe_trap_nanoseconds" {
			value = p.options.TrapNanoseconds
		} else if running, ok := p.options.Shared.isRunning(name); ok {
			value = running
		} else if option, ok := p.Definition.Values[name]; ok {
			value = option
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
	p.adopted = p.options.Shared.adopt(spec)
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: p.adopted, Cache: p.options.Kernel.cache})
	if err != nil {
		return fmt.Errorf("%s: create maps: %w", p.Definition.File, explain(err))
	}
	p.maps = collection.Maps
	p.options.Shared.offer(p.spec, p.maps)
	for name, m := range p.maps {
		if m.Type() != ebpf.ArrayOfMaps || !p.publishes(name) {
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

// publishes tells whether a metric of the probe reads a map.
func (p *Probe) publishes(name string) bool {
	return slices.ContainsFunc(p.Definition.Metrics, func(m metric.Definition) bool { return m.Map == name })
}

// createTables makes a table for each map that metrics read.
func (p *Probe) createTables(layouts map[string]*histogram.Layout) error {
	byMap := map[string][]metric.Definition{}
	at := map[string]string{} // metric to its path in the file
	var order []string
	for i, m := range p.Definition.Metrics {
		at[m.Name] = fmt.Sprintf("metrics[%d]", i)
		if enum := p.missingEnum(m); enum != "" {
			p.options.Log.Warn("a metric is not available", "probe", p.Definition.Name, "metric", m.Name, "reason", fmt.Sprintf("the kernel has no enum %q", enum))
			continue
		}
		if byMap[m.Map] == nil {
			order = append(order, m.Map)
		}
		byMap[m.Map] = append(byMap[m.Map], m)
	}
	for _, name := range order {
		path := at[byMap[name][0].Name] + ".map"
		source, err := p.source(name, byMap[name])
		if err != nil {
			return p.Definition.errorf(path, "%v", err)
		}
		table, err := metric.NewTable(source, byMap[name], layouts, p.options.Environment, nil)
		var misfit *metric.Misfit
		switch {
		case errors.As(err, &misfit):
			return p.Definition.errorf(at[misfit.Metric]+"."+misfit.Path, "%v", misfit)
		case err != nil:
			return p.Definition.errorf(path, "%v", err)
		}
		p.tables = append(p.tables, table)
	}
	return errors.Join(p.countOtherMaps(byMap), p.readLostNames())
}

// countOtherMaps makes tables without metrics for the hash maps that no metric
// reads: how full they are is told all the same.
func (p *Probe) countOtherMaps(read map[string][]metric.Definition) error {
	for _, name := range slices.Sorted(maps.Keys(p.maps)) {
		if m := p.maps[name]; read[name] == nil && p.adopted[name] == nil && m.Type() == ebpf.Hash {
			x := p.Definition.Executable
			source := metric.Source{Name: name, Map: m, Key: p.spec.Maps[name].Key, OfProcesses: x != nil && x.Processes == name}
			table, err := metric.NewTable(source, nil, nil, p.options.Environment, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Definition.File, err)
			}
			p.tables = append(p.tables, table)
		}
	}
	return nil
}

// missingEnum names the enum that a label needs and that this kernel does not
// have. The programs that would fill such a metric are not available either
// (drop reasons came with Linux 5.17), so it is left out.
func (p *Probe) missingEnum(m metric.Definition) string {
	for _, label := range m.Labels {
		var enum *btf.Enum
		if label.Decode == "enum" && p.options.Kernel.BTF.TypeByName(label.Enum, &enum) != nil {
			return label.Enum
		}
	}
	return ""
}

// source describes a map to the table of the metrics that read it.
func (p *Probe) source(name string, metrics []metric.Definition) (metric.Source, error) {
	spec := p.spec.Maps[name]
	source := metric.Source{Name: name, Map: p.maps[name], Swap: p.swaps[name], Retire: p.Definition.Retire[name]}
	if source.Swap != nil {
		spec = spec.InnerMap
	}
	if source.Key, source.Value = spec.Key, spec.Value; source.Key == nil || source.Value == nil {
		return source, fmt.Errorf("map %q has no type data; declare key and value with __type", name)
	}
	for _, m := range metrics {
		if m.OverflowMap != metrics[0].OverflowMap {
			return source, fmt.Errorf("all metrics of map %q must have the same overflow_map", name)
		}
	}
	source.Overflow = p.maps[metrics[0].OverflowMap]
	return source, nil
}
