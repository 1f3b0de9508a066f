// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

// The generated part of README.md stands between these lines.
const (
	beginMarker = "<!-- metrics: written by `make generate`, do not edit -->"
	endMarker   = "<!-- end of metrics -->"
)

// generate returns the files that the reference is in, by path, with the
// content that they should have.
func generate(root string) (map[string][]byte, error) {
	definitions, err := definitions()
	if err != nil {
		return nil, err
	}
	readmePath := filepath.Join(root, "README.md")
	readme, err := os.ReadFile(readmePath)
	if err != nil {
		return nil, err
	}
	readme, err = replaceBetween(readme, table(definitions))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", readmePath, err)
	}
	return map[string][]byte{
		readmePath: readme,
		filepath.Join(root, "docs", "metrics.md"): reference(definitions),
		filepath.Join(root, "docs", "audit.md"):   auditReference(),
	}, nil
}

// definitions reads the built-in probes.
func definitions() ([]*probe.Definition, error) {
	var all []*probe.Definition
	for _, builtin := range bpf.Probes() {
		d, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// replaceBetween replaces what is between the markers.
func replaceBetween(text []byte, content string) ([]byte, error) {
	before, rest, found := bytes.Cut(text, []byte(beginMarker))
	_, after, closed := bytes.Cut(rest, []byte(endMarker))
	if !found || !closed {
		return nil, fmt.Errorf("the markers %q and %q are not there", beginMarker, endMarker)
	}
	return fmt.Appendf(nil, "%s%s\n\n%s\n%s%s", before, beginMarker, content, endMarker, after), nil
}

// row is one metric of the reference.
type row struct {
	name, kind, help, unit string
	labels                 []string
}

func rowOf(m metric.Definition) row {
	r := row{name: names.Namespace + "_" + m.Name, kind: string(m.Type), help: m.Help, unit: m.Unit}
	for _, label := range m.Labels {
		r.labels = append(r.labels, label.Name)
	}
	if m.Values != nil {
		r.labels = append(r.labels, m.Values.Label)
	}
	return r
}

func ownRow(m names.Metric) row {
	return row{name: m.Full(), kind: m.Type, help: m.Help, labels: m.Labels}
}

// table is the table in the README: every metric in a line.
func table(definitions []*probe.Definition) string {
	var out strings.Builder
	out.WriteString("| metric | type | labels | what it is |\n|---|---|---|---|\n")
	line := func(r row) {
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", r.name, r.kind, strings.Join(r.labels, ", "), cell(r.help))
	}
	for _, d := range definitions {
		for _, m := range d.Metrics {
			line(rowOf(m))
		}
	}
	for _, c := range names.Host {
		for _, m := range c.Metrics {
			line(ownRow(m))
		}
	}
	for _, m := range slices.Concat(names.SLO, names.Self) {
		line(ownRow(m))
	}
	return out.String()
}

// cell makes text fit for a cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// reference is docs/metrics.md: by probe, with where each program attaches.
func reference(definitions []*probe.Definition) []byte {
	var out bytes.Buffer
	out.WriteString("# Metrics\n\n<!-- written by `make generate` from bpf/*.yaml and exporter/names, do not edit -->\n\n" +
		"Durations are in seconds, sizes in bytes. Every histogram is a classic and a native one in the same family, and both are\n" +
		"exact (see [decisions/histograms.md](decisions/histograms.md)). `service` is the name from `tcpslo.yml`, else the base name\n" +
		"of the executable; `listener` is `ip:port`; `netns` is `\"\"` for the exporter's own network namespace, else the inode of\n" +
		"the namespace.\n\n" +
		"A program at kernel hooks gets the first of its hooks that the kernel offers (`tcpslo_exporter probes` tells which, and why\n" +
		"not another); one at Go functions stands at each of its places that an executable has.\n")
	for _, d := range definitions {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n", d.Name, strings.Join(strings.Fields(d.Help), " "))
		if d.OptIn {
			fmt.Fprintf(&out, "\nOff unless it is asked for: `collectors: {%s: true}`.\n", d.Name)
		}
		if len(d.Metrics) > 0 {
			out.WriteString("\n| metric | type | unit | labels | what it is |\n|---|---|---|---|---|\n")
		}
		for _, m := range d.Metrics {
			r := rowOf(m)
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", r.name, r.kind, r.unit, strings.Join(r.labels, ", "), cell(r.help))
		}
		out.WriteString("\n| program | attached to |\n|---|---|\n")
		for _, p := range d.Programs {
			fmt.Fprintf(&out, "| %s | %s |\n", p.Name, strings.Join(hooks(p), "<br>"))
		}
		for _, it := range d.Iterators {
			fmt.Fprintf(&out, "| %s | iterator, run %s |\n", it.Name, strings.ReplaceAll(it.Run, "_", " "))
		}
	}
	for _, c := range names.Host {
		section(&out, fmt.Sprintf("%s\n\n%s Read from %s.", c.Name, c.Help, c.Source), c.Metrics)
	}
	section(&out, "SLOs\n\nWhat each service is expected to do, and how many of its requests did it ([slo.md](slo.md)).", names.SLO)
	section(&out, "the exporter itself", names.Self)
	return out.Bytes()
}

// section writes metrics of the exporter's own under a heading.
func section(out *bytes.Buffer, heading string, metrics []names.Metric) {
	fmt.Fprintf(out, "\n## %s\n\n| metric | type | labels | what it is |\n|---|---|---|---|\n", heading)
	for _, m := range metrics {
		r := ownRow(m)
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", r.name, r.kind, strings.Join(r.labels, ", "), cell(r.help))
	}
}

// places says how a site is found, for those that are not simply in the function.
var places = map[string]string{
	probe.AtBeforeCall: "where it is called in",
	probe.AtAfterCall:  "behind its call in",
	probe.AtInlined:    "where it is inlined into",
}

// hooks writes the variants of a program as a reader of the kernel knows them.
func hooks(p probe.Program) []string {
	var all []string
	for _, v := range p.Variants {
		text := "`" + v.Name() + "`"
		switch {
		case v.In != "":
			text += " " + places[v.At] + " `" + v.In + "`"
		case v.Calling != "":
			text += ", the closure that calls `" + v.Calling + "`"
		case v.At != "":
			text += " at its " + v.At
		}
		all = append(all, text)
	}
	return all
}
