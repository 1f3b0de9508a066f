// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// style colours text where a person reads it.
type style struct{ colour bool }

// styleOf colours on a terminal only, and not where NO_COLOR is set.
func styleOf(out io.Writer) style {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return style{}
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return style{err == nil}
}

func (s style) bold(text string) string  { return s.escape("1", text) }
func (s style) dim(text string) string   { return s.escape("2", text) }
func (s style) red(text string) string   { return s.escape("31", text) }
func (s style) green(text string) string { return s.escape("32", text) }

func (s style) escape(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

// width is how many columns a text takes; text/tabwriter would count the colours.
func width(text string) int { return utf8.RuneCountInString(escapes.ReplaceAllString(text, "")) }

// table is a table of text. A header that begins with ">" is that of a column
// of numbers.
type table struct {
	style  style
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(out io.Writer) {
	widths := make([]int, len(t.header))
	right := make([]bool, len(t.header))
	header := make([]string, len(t.header))
	for i, text := range t.header {
		header[i], right[i] = strings.CutPrefix(text, ">")
		widths[i] = width(header[i])
		for _, row := range t.rows {
			widths[i] = max(widths[i], width(row[i]))
		}
		header[i] = t.style.dim(header[i])
	}
	for _, row := range append([][]string{header}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-width(cell))
			if right[i] {
				line.WriteString("  " + space + cell)
			} else {
				line.WriteString("  " + cell + space)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}
