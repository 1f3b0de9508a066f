// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// defaultWidth is that of a waterfall where there is no terminal to ask.
const defaultWidth = 100

// waterfall draws requests: each stage is a bar at the place that it has in time.
type waterfall struct {
	width  int  // columns
	colour bool // else plain ASCII, and a request's first line is never broken
}

// colours of the stages (ECMA-48): those of the network in blue and cyan, the queue
// that an operator came for in magenta, the service's own in green and yellow. A stage
// that is not here has the terminal's own.
var stageColours = map[string]string{
	"handshake": "36", "accept_queue": "35", "read_wait": "33", "parse": "93", "handler": "32", "first_packet": "94", "ack": "96",
}

// draw draws one request and an empty line.
func (w waterfall) draw(out io.Writer, r timeline.Request) error {
	var text strings.Builder
	w.head(&text, r)
	var total, longest time.Duration
	nameWidth := 0
	for _, stage := range r.Stages {
		total, longest = total+stage.Duration, max(longest, stage.Duration)
		nameWidth = max(nameWidth, len(stage.Name))
	}
	durationWidth := len(stageDuration(longest, total))
	axis := axis{total: total, cells: max(w.width-len("  * ")-nameWidth-durationWidth-len("    "), 10)}
	var began time.Duration
	marked := false
	for _, stage := range r.Stages {
		mark, style := " ", ""
		if stage.Duration == longest && !marked { // one alone, or none would stand out
			marked, mark, style = true, "*", "1;"
			if w.colour {
				mark = "▸"
			}
		}
		label := fmt.Sprintf("%s %-*s %*s", mark, nameWidth, w.printable(stage.Name), durationWidth, stageDuration(stage.Duration, total))
		before, bar := axis.place(began, stage.Duration, w.colour)
		colour := cmp.Or(stageColours[stage.Name], "39")
		line := fmt.Sprintf("  %s  %s%s", w.paint(style+colour, label), strings.Repeat(" ", before), w.paint(colour, bar))
		text.WriteString(line + "\n")
		began += stage.Duration
	}
	text.WriteString("\n")
	_, err := io.WriteString(out, text.String())
	return err
}

// head writes what the request was.
func (w waterfall) head(text *strings.Builder, r timeline.Request) {
	type field struct{ colour, text string }
	fields := []field{
		{"2", r.Started.Local().Format("15:04:05.000")},
		{"1", cmp.Or(w.printable(r.Service), "-")},
		{"1", w.printable(r.Method + " " + r.Path)},
		{statusColour(r.Status), w.printable(r.Status)},
		{"1", totalDuration(r.Duration)},
	}
	if r.ClientGone {
		fields = append(fields, field{"2", "client gone"})
	}
	if !r.Slow {
		fields = append(fields, field{"2", "not slow"})
	}
	if r.Goroutine != 0 {
		fields = append(fields, field{"2", "goroutine " + strconv.FormatUint(r.Goroutine, 10)})
	}
	if r.Remote.IsValid() && r.Local.IsValid() {
		arrow := " -> "
		if w.colour {
			arrow = " → "
		}
		fields = append(fields, field{"2", r.Remote.String() + arrow + r.Local.String()})
	}
	fields = append(fields, field{"2", "id " + w.printable(r.ID)})
	if r.TraceParent != "" {
		fields = append(fields, field{"2", "traceparent " + w.printable(r.TraceParent)})
	}
	column := 0
	for i, f := range fields {
		width := utf8.RuneCountInString(f.text)
		switch {
		case i == 0:
		case w.colour && column+2+width > w.width:
			text.WriteString("\n  ")
			column = 2
		default:
			text.WriteString("  ")
			column += 2
		}
		text.WriteString(w.paint(f.colour, f.text))
		column += width
	}
	text.WriteString("\n")
}

// axis is the time of one request, laid out in cells.
type axis struct {
	total time.Duration
	cells int
}

// eighths of a cell, filled from the left (Unicode block elements).
var eighths = []string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}

// place returns the cells before a stage and its bar, which is never invisible.
func (a axis) place(began, duration time.Duration, blocks bool) (before int, bar string) {
	if a.total <= 0 {
		return 0, "|"
	}
	fraction := float64(a.cells) / float64(a.total)
	before = min(int(float64(began)*fraction), a.cells-1)
	length := float64(duration) * fraction
	if !blocks {
		return before, cmp.Or(strings.Repeat("#", int(length+0.5)), "|")
	}
	n := max(int(length*8+0.5), 1)
	return before, strings.Repeat("█", n/8) + eighths[n%8]
}

// stageDuration writes all stages of a request in one unit, so that their digits are
// under one another.
func stageDuration(d, total time.Duration) string {
	switch {
	case total < 10*time.Millisecond:
		return fmt.Sprintf("%.3f ms", d.Seconds()*1e3)
	case total < 10*time.Second:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// totalDuration writes the three digits that matter most, and more of long ones.
func totalDuration(d time.Duration) string {
	unit, value := "ms", d.Seconds()*1e3
	if d >= time.Second {
		unit, value = "s", d.Seconds()
	}
	digits := 3
	for limit := 1.0; digits > 0 && value >= limit; limit *= 10 {
		digits--
	}
	return fmt.Sprintf("%.*f %s", digits, value, unit)
}

func statusColour(status string) string {
	switch {
	case status == "panic" || strings.HasPrefix(status, "5"):
		return "1;31"
	case strings.HasPrefix(status, "4"):
		return "33"
	}
	return "32"
}

// printable keeps what an observed service says from moving the cursor, and where a
// pipe reads it, from being anything but ASCII.
func (w waterfall) printable(text string) string {
	quoted := strconv.QuoteToGraphic(text)
	if !w.colour {
		quoted = strconv.QuoteToASCII(text)
	}
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func (w waterfall) paint(code, text string) string {
	if !w.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// newWaterfall fits what it draws to where it is drawn.
func newWaterfall(out io.Writer) waterfall {
	w := waterfall{width: defaultWidth}
	file, ok := out.(*os.File)
	if !ok || !isTerminal(file) {
		return w
	}
	if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		w.width = int(size.Col)
	}
	w.colour = os.Getenv("NO_COLOR") == ""
	return w
}
