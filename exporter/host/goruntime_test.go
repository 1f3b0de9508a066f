// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// startServer runs lab/server.
func startServer(t *testing.T, flags ...string) *labtest.Server {
	t.Helper()
	path, err := gobuild.Build(t.Context(), gobuild.Spec{Package: "../../lab/server", Mode: gobuild.Stripped})
	if err != nil {
		t.Fatal(err)
	}
	return labtest.StartServer(t, labtest.ServerOptions{Executable: path, Flags: flags})
}

// goRuntimeOf makes the collector for processes of one service, which tells so many
// functions.
func goRuntimeOf(t *testing.T, functions int, pids ...int) *goRuntime {
	t.Helper()
	options := goRuntimeKind.Options().(*GoRuntimeOptions)
	options.CreatedBy = topFunctions(functions)
	var processes []Process
	for _, pid := range pids {
		processes = append(processes, Process{uint32(pid), "shop"})
	}
	c, err := newGoRuntime(Environment{
		Paths: Paths{Procfs: "/proc"}, Log: slog.New(slog.DiscardHandler), Processes: func() []Process { return processes },
	}, options)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*goRuntime)
}

// counted counts, at a time of the test's choice.
func counted(t *testing.T, c *goRuntime, now time.Time) *Found {
	t.Helper()
	f, err := c.count(now)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// valuesOf are the values of a metric, by the label beside the service if it has one.
func valuesOf(f *Found, m names.Metric) map[string]float64 {
	values := map[string]float64{}
	for _, family := range f.families() {
		if family.GetName() != m.Full() {
			continue
		}
		for _, series := range family.Metric {
			values[besideService(series)] += series.Gauge.GetValue()
		}
	}
	return values
}

func besideService(series *dto.Metric) string {
	for _, l := range series.Label {
		if l.GetName() != "service" {
			return l.GetValue()
		}
	}
	return ""
}

var createdByLine = regexp.MustCompile(`(?m)^created by (.+?)(?: in goroutine \d+)?$`)

// traceback counts by creation site what a server's own traceback shows. The one
// that is not told there is the first; the one that net/http watches its client with
// is gone after the answer.
func traceback(t *testing.T, servers ...*labtest.Server) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	for _, server := range servers {
		for _, by := range createdByLine.FindAllStringSubmatch(server.Get(t, "/-/goroutines"), -1) {
			counts[by[1]]++
		}
		counts["runtime.main"]++
	}
	delete(counts, "net/http.(*connReader).startBackgroundRead")
	return counts
}

func TestGoroutines_by_creation_site_are_those_of_the_servers_own_tracebacks(t *testing.T) {
	one, other := startServer(t), startServer(t)
	one.Get(t, "/leak?n=25")
	other.Get(t, "/leak?n=17")
	c := goRuntimeOf(t, 20, one.PID, other.PID)
	labtest.Eventually(t, func() error {
		want := traceback(t, one, other)
		f := counted(t, c, time.Now())
		if got := valuesOf(f, names.Goroutines); !maps.Equal(got, want) || got["main.leak"] != 42 {
			return fmt.Errorf("goroutines %v, want %v", got, want)
		}
		if got := valuesOf(f, names.ConnectionGoroutines)[""]; got != want["net/http.(*Server).Serve"] || got == 0 {
			return fmt.Errorf("%v goroutines serve connections, want %v", got, want["net/http.(*Server).Serve"])
		}
		return nil
	})
}

func TestFunctions_that_created_fewer_goroutines_are_told_together(t *testing.T) {
	server := startServer(t)
	server.Get(t, "/leak?n=25")
	c := goRuntimeOf(t, 1, server.PID)
	labtest.Eventually(t, func() error {
		sum := 0.0
		for _, n := range traceback(t, server) {
			sum += n
		}
		want := map[string]float64{"main.leak": 25, "other": sum - 25}
		if got := valuesOf(counted(t, c, time.Now()), names.Goroutines); !maps.Equal(got, want) {
			return fmt.Errorf("goroutines %v, want %v", got, want)
		}
		return nil
	})
}

func TestLeak_is_suspected_when_window_after_window_left_goroutines_behind(t *testing.T) {
	server := startServer(t)
	c, now := goRuntimeOf(t, 20, server.PID), time.Now()
	for window := range 10 {
		server.Get(t, "/hello/you")
		server.Get(t, fmt.Sprintf("/leak?n=%d", 1+window))
		now = now.Add(time.Duration(c.options.Window))
		got := valuesOf(counted(t, c, now), names.GoroutineLeak)
		want := map[string]float64{}
		if window > 4 { // the first window's are as old as the process
			want["main.leak"] = float64(window * (window + 1) / 2)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("in window %d suspected: %v, want %v", window, got, want)
		}
	}
	if line := fmt.Sprintf("/leaks.go:%d", lineOf(t, "../../lab/server/leaks.go", "go receive(never)")); len(c.findings) != 1 || !strings.HasSuffix(c.findings[0].Line, line) {
		t.Errorf("findings %+v, want one of %s", c.findings, line)
	}
}

// lineOf is the number of the line of a file that is this text.
func lineOf(t *testing.T, path, text string) int {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(source), "\n") {
		if strings.TrimSpace(line) == text {
			return i + 1
		}
	}
	t.Fatalf("%s has no line %q", path, text)
	return 0
}

func TestServer_without_a_leak_is_not_suspected_however_many_connections_it_gets(t *testing.T) {
	server := startServer(t)
	c, now := goRuntimeOf(t, 20, server.PID), time.Now()
	for window := range 20 {
		client := &http.Client{Transport: &http.Transport{}} // with a connection of its own, which stays
		response, err := client.Get("http://" + server.Listen[0] + "/hello/you")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		defer client.CloseIdleConnections()
		now = now.Add(time.Duration(c.options.Window))
		if got := valuesOf(counted(t, c, now), names.GoroutineLeak); len(got) != 0 {
			t.Fatalf("in window %d suspected: %v", window, got)
		}
	}
}

func TestDescriptors_are_those_of_the_process_that_is_nearest_to_its_limit(t *testing.T) {
	one, other := startServer(t), startServer(t)
	for pid, limit := range map[int]uint64{one.PID: 1000, other.PID: 500} {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, pids := range [][]int{{one.PID, other.PID}, {other.PID, one.PID}} {
		f := counted(t, goRuntimeOf(t, 20, pids...), time.Now())
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", other.PID))
		if err != nil {
			t.Fatal(err)
		}
		open, most := valuesOf(f, names.OpenFDs)[""], valuesOf(f, names.MaxFDs)[""]
		if open != float64(len(entries)) || most != 500 {
			t.Errorf("%v of %v descriptors, want %d of 500", open, most, len(entries))
		}
	}
}

func TestProcess_that_is_not_Go_or_has_ended_has_no_goroutines_and_is_no_failure(t *testing.T) {
	sleep := exec.Command("sleep", "300")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	server := startServer(t)
	c := goRuntimeOf(t, 20, sleep.Process.Pid, server.PID)
	if got := foundText(t, counted(t, c, time.Now())); !strings.Contains(got, "tcpslo_goroutines{") || len(c.processes) != 2 {
		t.Errorf("with a server: %s", got)
	}
	server.Kill()
	got := foundText(t, counted(t, c, time.Now()))
	if strings.Contains(got, "goroutines") || !strings.Contains(got, `tcpslo_open_fds{service="shop"}`) {
		t.Errorf("without it: %s", got)
	}
}
