// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

var slowOrder = timeline.Request{
	ID: "00f3a1b2c3d4e5f6", Service: "checkout", PID: 812, Goroutine: 4711, Method: "POST", Path: "/orders/{id}", Status: "503", Slow: true,
	Local: netip.MustParseAddrPort("10.0.0.1:8080"), Remote: netip.MustParseAddrPort("10.0.0.7:51234"),
	TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	Started:     time.Date(2026, 11, 23, 11, 2, 31, 123_000_000, time.Local), Duration: 811_900 * time.Microsecond, Threshold: 200 * time.Millisecond,
	Stages: []timeline.Stage{
		{Name: "handshake", Duration: 400 * time.Microsecond}, {Name: "accept_queue", Duration: 702 * time.Millisecond},
		{Name: "read_wait", Duration: 100 * time.Microsecond}, {Name: "parse", Duration: 200 * time.Microsecond},
		{Name: "handler", Duration: 108 * time.Millisecond}, {Name: "first_packet", Duration: 1200 * time.Microsecond},
	},
}

// A request of which little is known: all at once, and nothing of its connection.
var quickStream = timeline.Request{
	ID: "00f3a1b2c3d4e5f7", Service: "", Method: "GET", Path: "/", Status: "200",
	Started: time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local), Duration: 45 * time.Microsecond,
	Stages: []timeline.Stage{{Name: "handler", Duration: 45 * time.Microsecond}, {Name: "first_packet"}},
}

func drawn(t *testing.T, w waterfall, r timeline.Request) string {
	t.Helper()
	var out strings.Builder
	if err := w.draw(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWaterfall_without_colours_is_ASCII_with_the_request_in_one_line(t *testing.T) {
	const want = `11:02:31.123  checkout  POST /orders/{id}  503  812 ms  goroutine 4711  10.0.0.7:51234 -> 10.0.0.1:8080  id 00f3a1b2c3d4e5f6  traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    handshake      0.4 ms  |
  * accept_queue 702.0 ms  #############################
    read_wait      0.1 ms                               |
    parse          0.2 ms                               |
    handler      108.0 ms                               #####
    first_packet   1.2 ms                                   |

00:00:00.000  -  GET /  200  0.045 ms  not slow  id 00f3a1b2c3d4e5f7
  * handler      0.045 ms  ##################################
    first_packet 0.000 ms                                   |

`
	got := drawn(t, waterfall{width: 62}, slowOrder) + drawn(t, waterfall{width: 62}, quickStream)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestWaterfall_with_colours_fits_the_terminal_and_its_longest_stage_is_bold(t *testing.T) {
	const want = `11:02:31.123  checkout  POST /orders/{id}  503  812 ms
  goroutine 4711  10.0.0.7:51234 → 10.0.0.1:8080
  id 00f3a1b2c3d4e5f6
  traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    handshake      0.4 ms  ▏
  ▸ accept_queue 702.0 ms  ████████████████████████████▌
    read_wait      0.1 ms                              ▏
    parse          0.2 ms                              ▏
    handler      108.0 ms                              ████▍
    first_packet   1.2 ms                                  ▏

`
	got := drawn(t, waterfall{width: 61, colour: true}, slowOrder)
	if plain := escape.ReplaceAllString(got, ""); plain != want {
		t.Errorf("got\n%s\nwant\n%s", plain, want)
	}
	for _, painted := range []string{
		"\x1b[1;31m503\x1b[0m", "\x1b[1;35m▸ accept_queue 702.0 ms\x1b[0m", "\x1b[32m  handler      108.0 ms\x1b[0m", "\x1b[32m████▍\x1b[0m",
	} {
		if !strings.Contains(got, painted) {
			t.Errorf("%q is not in %q", painted, got)
		}
	}
	if n := strings.Count(got, "\x1b[1;3"); n != 2 {
		t.Errorf("%d things stand out, want the status and the longest stage: %q", n, got)
	}
}

func TestWaterfall_breaks_the_line_of_a_request_between_what_it_says(t *testing.T) {
	for width := range 150 {
		text := escape.ReplaceAllString(drawn(t, waterfall{width: width, colour: true}, slowOrder), "")
		head, _, _ := strings.Cut(text, "    handshake")
		for line := range strings.Lines(head) {
			line = strings.TrimRight(line, "\n")
			if columns := utf8.RuneCountInString(line); columns > width && strings.Contains(strings.TrimPrefix(line, "  "), "  ") {
				t.Errorf("a line of %d columns could be broken for a terminal of %d: %q", columns, width, line)
			}
		}
		if got, want := strings.Join(strings.Fields(head), " "), "11:02:31.123 checkout POST /orders/{id} 503 812 ms goroutine 4711 10.0.0.7:51234 → 10.0.0.1:8080 id 00f3a1b2c3d4e5f6 traceparent "+slowOrder.TraceParent; got != want {
			t.Errorf("with %d columns it says\n%s\nwant\n%s", width, got, want)
		}
	}
}

func TestWaterfall_in_the_documentation_is_the_one_that_is_drawn(t *testing.T) {
	page, err := os.ReadFile("../../docs/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	r := slowOrder
	r.TraceParent = ""
	if want := strings.TrimSuffix(drawn(t, waterfall{width: defaultWidth}, r), "\n") + "```\n"; !strings.Contains(string(page), want) {
		t.Errorf("docs/requests.md hasn't\n%s", want)
	}
}

func TestWaterfall_is_as_wide_as_the_terminal_and_plain_where_there_is_none_or_NO_COLOR(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 71}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		out     io.Writer
		noColor string
		want    waterfall
	}{
		{terminal, "", waterfall{71, true}}, {terminal, "1", waterfall{71, false}}, {file, "", waterfall{100, false}}, {io.Discard, "", waterfall{100, false}},
	} {
		t.Setenv("NO_COLOR", c.noColor)
		if got := newWaterfall(c.out); got != c.want {
			t.Errorf("%T with NO_COLOR=%q: %+v, want %+v", c.out, c.noColor, got, c.want)
		}
	}
}

func TestWaterfall_has_each_bar_where_its_stage_lies_in_time(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		r := timeline.Request{}
		for i := range 1 + random.IntN(7) {
			r.Stages = append(r.Stages, timeline.Stage{Name: fmt.Sprint(i), Duration: time.Duration(random.Int64N(1 << random.IntN(40)))})
			r.Duration += r.Stages[i].Duration
		}
		w := waterfall{width: 40 + random.IntN(200), colour: random.IntN(2) == 0}
		lines := strings.Split(strings.TrimSpace(escape.ReplaceAllString(drawn(t, w, r), "")), "\n")
		lines = lines[len(lines)-len(r.Stages):]
		var bars [][2]float64 // begin and length in columns
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > w.width {
				t.Fatalf("a line has %d columns of %d: %q", n, w.width, line)
			}
			i := strings.IndexAny(line, "|#█▏▎▍▌▋▊▉")
			if i < 0 {
				t.Fatalf("a stage has no bar: %q", line)
			}
			length := 0.0
			for _, cell := range line[i:] {
				switch cell {
				case '#', '█':
					length++
				case '|':
				default:
					length += float64(0x2590-cell) / 8 // U+258F is an eighth
				}
			}
			bars = append(bars, [2]float64{float64(utf8.RuneCountInString(line[:i])), length})
		}
		// The first begins at the left; the time of one cell follows from the width.
		left := bars[0][0]
		cells := float64(w.width) - 1 - left
		var before time.Duration
		for i, stage := range r.Stages {
			begin, length := cells*float64(before)/float64(max(r.Duration, 1)), cells*float64(stage.Duration)/float64(max(r.Duration, 1))
			if got := bars[i][0] - left; got > begin || got < min(begin-1, cells-1) {
				t.Fatalf("stage %d of %+v begins in column %.0f of %.0f, want %.2f", i, r.Stages, got, cells, begin)
			}
			if got := bars[i][1]; got > length+0.51 || got < length-0.51 {
				t.Fatalf("stage %d of %+v is %.2f of %.0f columns long, want %.2f", i, r.Stages, got, cells, length)
			}
			before += stage.Duration
		}
	}
}

func TestWaterfall_lets_no_service_move_the_cursor_or_forge_a_line(t *testing.T) {
	hostile := timeline.Request{
		ID: "1\n2", Service: "a\x1b[2J", Method: "G\rT", Path: "/\n  * handler 1 ms/\u202e\"\xff", Status: "\a", TraceParent: "\x9b1m",
		Stages: []timeline.Stage{{Name: "\x1b]0;x\a", Duration: 1}},
	}
	for _, w := range []waterfall{{width: 300}, {width: 300, colour: true}} {
		got := escape.ReplaceAllString(drawn(t, w, hostile), "")
		if n := strings.Count(got, "\n"); n != 3 {
			t.Errorf("%d lines, want 3: %q", n, got)
		}
		if strings.ContainsAny(got, "\x1b\r\a\u202e\u009b") || !strings.Contains(got, `/\n  * handler 1 ms/`) {
			t.Errorf("got %q", got)
		}
		if !w.colour && strings.ContainsFunc(got, func(r rune) bool { return r > 126 }) {
			t.Errorf("not ASCII: %q", got)
		}
	}
}

func TestWaterfall_writes_durations_with_the_digits_that_matter(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.000 ms", 4 * time.Microsecond: "0.004 ms", 4310 * time.Microsecond: "4.31 ms", 42 * time.Millisecond: "42.0 ms", 812 * time.Millisecond: "812 ms",
		1234 * time.Millisecond: "1.23 s", 75 * time.Second: "75.0 s", 4000 * time.Second: "4000 s",
	} {
		if got := totalDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for total, want := range map[time.Duration]string{9 * time.Millisecond: "1.235 ms", 10 * time.Millisecond: "1.2 ms", 9 * time.Second: "1.2 ms", 10 * time.Second: "0.001 s"} {
		if got := stageDuration(1_234_567*time.Nanosecond, total); got != want {
			t.Errorf("1.234567 ms of %v is %q, want %q", total, got, want)
		}
	}
}
