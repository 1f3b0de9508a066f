// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// page is everything that was measured.
type page struct {
	command  string // that writes it
	machine  machine
	began    time.Time
	sections []section
}

// section is what a part of the bench has found.
type section struct {
	part, load string // its name, and the load average before it began
	title      string
	figures    []figure
	body       string // Markdown
}

// figure is one line of the table that the page begins with.
type figure struct {
	what, measured string
	aim            string // what it should be, "" if nobody said
}

func newPage(command string) (*page, error) {
	m, err := readMachine()
	return &page{command: command, machine: m, began: time.Now()}, err
}

func (p *page) writeFile(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := p.write(file); err != nil {
		return err
	}
	return file.Close()
}

func (p *page) write(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\n<!-- written by `%s`, do not edit -->\n\n", p.command)
	fmt.Fprintf(&b, "What observing costs, measured on %s, on %s. Other machines differ: run it on yours\n(`make bench`, as root).\n\n", p.machine, p.began.UTC().Format(time.DateOnly))
	fmt.Fprintf(&b, "What is compared is compared in alternating rounds with the same work in each; figures are medians unless they say otherwise.\n\n")
	figures := table{header: []string{"figure", ">measured", ">aim", "command"}}
	for _, s := range p.sections {
		for _, f := range s.figures {
			figures.add(f.what, f.measured, f.aim, s.command())
		}
	}
	b.WriteString(figures.markdown())
	for _, s := range p.sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s (load average before: %s)\n\n%s", s.title, s.command(), s.load, s.body)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (s section) command() string { return fmt.Sprintf("`go run ./lab/bench -only=%s`", s.part) }

// table is a table in Markdown. A header that begins with ">" is that of a column
// of numbers.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	header, rule := make([]string, len(t.header)), make([]string, len(t.header))
	for i, text := range t.header {
		rule[i] = "---"
		var number bool
		if header[i], number = strings.CutPrefix(text, ">"); number {
			rule[i] = "--:"
		}
	}
	line(header)
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// milliseconds, microseconds and nanoseconds write seconds in a smaller unit,
// mebibytes bytes in a larger one.
func milliseconds(seconds float64) string { return fmt.Sprintf("%.1f ms", seconds*1e3) }
func microseconds(seconds float64) string { return fmt.Sprintf("%.1f µs", seconds*1e6) }
func nanoseconds(seconds float64) string  { return fmt.Sprintf("%.0f ns", seconds*1e9) }
func mebibytes(bytes uint64) string       { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
