// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

var (
	probeName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]*[a-z0-9]$`)
	labelName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// checker collects what is wrong with a definition and decoding could not see.
type checker struct {
	*Definition
	errs strictyaml.Errors
}

func (c *checker) fail(path, format string, args ...any) {
	c.errs = append(c.errs, c.errorf(path, format, args...))
}

func (d *Definition) check() strictyaml.Errors {
	c := &checker{Definition: d}
	if !probeName.MatchString(d.Name) {
		c.fail("name", "probe name %q must be lower case letters, digits and underscores", d.Name)
	}
	if len(d.Programs)+len(d.Iterators)+len(d.Needs) == 0 {
		c.fail("", "a probe needs programs, iterators or a go_function")
	}
	c.options()
	c.programs()
	if d.Executable != nil {
		c.executables(d.Executable)
	}
	seen := map[string]bool{}
	for i, m := range d.Metrics {
		at := fmt.Sprintf("metrics[%d]", i)
		if seen[m.Name] {
			c.fail(at+".name", "duplicate metric %q", m.Name)
		}
		seen[m.Name] = true
		c.metric(m, at)
		c.labels(m, at)
	}
	return c.errs
}

func (c *checker) programs() {
	seen := map[string]bool{}
	for i, p := range c.Programs {
		at := fmt.Sprintf("programs[%d]", i)
		if seen[p.Name] {
			c.fail(at+".name", "duplicate program %q", p.Name)
		}
		seen[p.Name] = true
		if len(p.Variants) == 0 {
			c.fail(at+".variants", "program %q needs a variant", p.Name)
			continue
		}
		for j, v := range p.Variants {
			if (v.Hooks[0].Kind == "gouprobe") != p.IsGo() {
				c.fail(fmt.Sprintf("%s.variants[%d]", at, j), "program %q mixes gouprobe with kernel hooks", p.Name)
			}
			if o, ok := c.Options[v.Frequency]; v.Frequency != "" && (!ok || o.Min == 0) {
				c.fail(fmt.Sprintf("%s.variants[%d].frequency", at, j), "no option %q with a \"min\" of at least 1", v.Frequency)
			}
		}
		if !p.IsGo() && (p.Optional || p.OnDemand) {
			c.fail(at+".name", "only a program at Go functions is \"optional\" or \"on_demand\"; any other may be unavailable anyhow")
		}
	}
	for i, it := range c.Iterators {
		at := fmt.Sprintf("iterators[%d]", i)
		if it.Run != AtStart && it.Run != OnScrape {
			c.fail(at+".run", "unknown time %q%s", it.Run, strictyaml.Suggest(it.Run, []string{AtStart, OnScrape}))
		}
		if seen[it.Name] {
			c.fail(at+".name", "duplicate program %q", it.Name)
		}
		seen[it.Name] = true
	}
}

// executables checks what each member of the executables map is.
func (c *checker) executables(e *ExecutableValues) {
	for _, member := range slices.Sorted(maps.Keys(e.Values)) {
		v, at := e.Values[member], fmt.Sprintf("executables.values.%q", member)
		given := 0
		for _, is := range []bool{len(v.Field) > 0, len(v.Itab) > 0, v.StackDepth != ""} {
			if is {
				given++
			}
		}
		switch {
		case given != 1:
			c.fail(at, "give exactly one of field, itab and stack_depth, got %d", given)
		case len(v.Itab) != 0 && len(v.Itab) != 2:
			c.fail(at, "\"itab\" is a pair, [concrete type, interface]")
		case v.StackDepth != "" && !slices.ContainsFunc(c.Programs, func(p Program) bool { return p.Name == v.StackDepth }):
			c.fail(at, "no program %q", v.StackDepth)
		}
	}
}

func (c *checker) metric(m metric.Definition, at string) {
	if !metricName.MatchString(m.Name) {
		c.fail(at+".name", "metric name %q must be lower case letters, digits and underscores", m.Name)
	}
	types := []string{string(metric.Counter), string(metric.Gauge), string(metric.Histogram)}
	if !slices.Contains(types, string(m.Type)) {
		c.fail(at+".type", "unknown type %q%s", m.Type, strictyaml.Suggest(string(m.Type), types))
		return // what follows depends on it
	}
	switch total := strings.HasSuffix(m.Name, "_total"); {
	case m.Type == metric.Counter && !total:
		c.fail(at+".name", "a counter's name ends in _total: %q", m.Name+"_total")
	case m.Type != metric.Counter && total:
		c.fail(at+".name", "only a counter's name ends in _total")
	}
	if (m.Type == metric.Histogram) != (m.Buckets != nil) {
		c.fail(at+".buckets", "a histogram needs buckets, and nothing else has them")
	}
	if m.Aggregate != "" {
		aggregates := []string{string(metric.Sum), string(metric.Max), string(metric.Count), string(metric.Age)}
		if m.Type != metric.Gauge {
			c.fail(at+".aggregate", "only a gauge has \"aggregate\"")
		} else if !slices.Contains(aggregates, string(m.Aggregate)) {
			c.fail(at+".aggregate", "unknown aggregate %q%s", m.Aggregate, strictyaml.Suggest(string(m.Aggregate), aggregates))
		}
	}
	if _, ok := metric.Scales[m.Stored]; !ok {
		c.fail(at+".stored", "unknown unit %q%s", m.Stored, strictyaml.Suggest(m.Stored, slices.Sorted(maps.Keys(metric.Scales))[1:]))
	}
	switch {
	case m.Values == nil:
	case m.Value != "":
		c.fail(at+".value", "give either \"value\" or \"values\"")
	case len(m.Values.Fields) == 0:
		c.fail(at+".values.fields", "\"fields\" must name at least one field")
	}
}

func (c *checker) labels(m metric.Definition, at string) {
	seen := map[string]bool{}
	name := func(path, label string) {
		if !labelName.MatchString(label) || label == "le" {
			c.fail(path, "label name %q must be lower case letters, digits and underscores, and not \"le\"", label)
		}
		if seen[label] {
			c.fail(path, "duplicate label %q", label)
		}
		seen[label] = true
	}
	for i, label := range m.Labels {
		path := fmt.Sprintf("%s.labels[%d]", at, i)
		name(path+".name", label.Name)
		if label.Decode != "" && !slices.Contains(metric.Decoders(), label.Decode) {
			c.fail(path+".decode", "unknown decoder %q%s", label.Decode, strictyaml.Suggest(label.Decode, metric.Decoders()))
			continue
		}
		if (label.Decode == "enum") != (label.Enum != "") {
			c.fail(path+".enum", "\"enum\" goes with \"decode: enum\": the kernel's enum")
		}
		if (label.Decode == "static_map") != (len(label.Map) > 0) {
			c.fail(path+".map", "\"map\" goes with \"decode: static_map\": number to name")
		}
		for number := range label.Map {
			if _, err := strconv.ParseUint(number, 0, 64); err != nil {
				c.fail(fmt.Sprintf("%s.map.%q:", path, number), "%q is not a number", number)
			}
		}
	}
	if m.Values != nil {
		name(at+".values.label", m.Values.Label)
	}
}
