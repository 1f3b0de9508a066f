// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Colours by their ANSI escape code (ECMA-48 SGR).
const (
	bold  = "1"
	red   = "31"
	green = "32"
)

// progress tells a person what is going on, one line for each step. It is safe
// for concurrent use, since each line is one write.
type progress struct {
	w      io.Writer
	colour bool
}

// newProgress writes to file, in colour only if that is a terminal and NO_COLOR
// (https://no-color.org) is not set.
func newProgress(file *os.File) progress {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return progress{w: file, colour: err == nil && os.Getenv("NO_COLOR") == ""}
}

// step prints what happens to a kernel.
func (p progress) step(kernel, format string, args ...any) {
	fmt.Fprintf(p.w, "%s %s\n", p.paint(bold, fmt.Sprintf("%-10s", kernel)), fmt.Sprintf(format, args...))
}

// paint returns text in a colour, or as it is where there are no colours.
func (p progress) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
