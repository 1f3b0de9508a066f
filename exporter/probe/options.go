// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Option is a number that a probe takes from its entry under "collectors" in
// tcpslo.yml. The object declares it by the option's name, as const volatile __u64.
type Option struct {
	Default uint64 `yaml:"default,required"`
	Min     uint64 `yaml:"min"`
	Max     uint64 `yaml:"max,required"`
	Help    string `yaml:"help,required"` // with the unit
}

// Configure takes the values of the options from a collector's entry; decode is
// the entry's method Options. Errors have the place in tcpslo.yml.
func (d *Definition) Configure(decode func(into any) error) error {
	return decode(&settings{d})
}

// settings is a definition as what an entry's mapping is decoded into.
type settings struct{ *Definition }

// UnmarshalNode reads a mapping from the name of an option to its value.
func (s *settings) UnmarshalNode(n *strictyaml.Node) error {
	entries, err := n.Entries()
	if err != nil {
		return err
	}
	var errs strictyaml.Errors
	known := slices.Sorted(maps.Keys(s.Options))
	for _, entry := range entries {
		name := entry.Key.Text()
		option, ok := s.Options[name]
		switch {
		case !ok && len(known) == 0:
			errs = append(errs, entry.Key.Errorf("collector %q has no options, got %q", s.Name, name))
			continue
		case !ok:
			errs = append(errs, entry.Key.Errorf("collector %q has no option %q%s", s.Name, name, strictyaml.Suggest(name, known)))
			continue
		case entry.Value.Kind() == strictyaml.Null:
			errs = append(errs, entry.Value.Errorf("%q must not be empty", name))
			continue
		}
		var value int64
		if err := entry.Value.Decode(&value); err != nil {
			errs = append(errs, err.(strictyaml.Errors)...)
			continue
		}
		if value < 0 || uint64(value) < option.Min || uint64(value) > option.Max {
			errs = append(errs, entry.Value.Errorf("%q must be between %d and %d, got %d", name, option.Min, option.Max, value))
			continue
		}
		s.Values[name] = uint64(value)
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// options checks that each option's default is one of its values.
func (c *checker) options() {
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		at, o := fmt.Sprintf("options.%q", name), c.Options[name]
		if !labelName.MatchString(name) {
			c.fail(at+":", "option name %q must be lower case letters, digits and underscores", name)
		}
		if o.Default < o.Min || o.Default > o.Max {
			c.fail(at+".default", "\"default\" must be between \"min\" %d and \"max\" %d, got %d", o.Min, o.Max, o.Default)
		}
	}
}

// defaults gives every option its default.
func (d *Definition) defaults() {
	d.Values = map[string]uint64{}
	for name, option := range d.Options {
		d.Values[name] = option.Default
	}
}

// checkOption wants the variable that an option is set by.
func checkOption(name string, variables map[string]*ebpf.VariableSpec) error {
	if v, ok := variables[name]; !ok || v.Size() != 8 || !v.Constant() {
		return fmt.Errorf("the object has no \"const volatile __u64 %s\"", name)
	}
	return nil
}
