// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const hotspotSamples = "tcpslo_hotspot_samples_total"

// burned is what GET /burn of lab/server answers.
type burned struct {
	Early   float64  `json:"early"`
	Seconds float64  `json:"seconds"`
	Stack   []string `json:"stack"`
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Spin    int      `json:"spin"`
}

func burn(t *testing.T, server *labtest.Server, query string) (b burned) {
	t.Helper()
	if err := json.Unmarshal([]byte(server.Get(t, "/burn?"+query)), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// startHotspots runs an exporter to which the requests of the lab server are slow that
// take longer than 200 ms.
func startHotspots(t *testing.T) *labtest.Exporter {
	t.Helper()
	testenv.NeedRoot(t)
	return labtest.StartExporter(t, labtest.Options{Config: `
services: [{name: shop, match: {executable: "*/*server*"}, slower_than: 200ms}]
collectors: {hotspots: {frequency: 499}}
`})
}

// functions are the names of a stack, the innermost first.
func functions(h labtest.Hotspot) []string {
	var names []string
	for _, f := range h.Frames {
		names = append(names, f.Function)
	}
	return names
}

// sampled adds up the samples of the stacks that a function is in.
func sampled(all []labtest.Hotspot, function string) (samples int) {
	for _, h := range all {
		if slices.Contains(functions(h), function) {
			samples += h.Samples
		}
	}
	return samples
}

// Of all that burns CPU only what requests do that are slow already is found, with the
// functions and the lines that the server itself says it was in.
func TestHotspots_are_where_slow_requests_burn_CPU_and_nothing_else(t *testing.T) {
	const threshold = 0.2
	ex := startHotspots(t)
	for _, build := range []gobuild.Spec{
		{Mode: gobuild.Plain}, {Mode: gobuild.Stripped}, {Mode: gobuild.PIE}, {Mode: gobuild.External},
		{Toolchain: gobuild.Go118}, {Toolchain: gobuild.Go120, Mode: gobuild.PIE}, {Toolchain: gobuild.Go122}, {Toolchain: gobuild.Go127, Mode: gobuild.Stripped},
	} {
		t.Run(strings.TrimSpace(build.Toolchain+" "+string(build.Mode)), func(t *testing.T) {
			build.Package = "../server"
			path, err := gobuild.Build(context.Background(), build)
			if errors.Is(err, gobuild.ErrNoToolchain) || errors.Is(err, gobuild.ErrNoCompiler) {
				testenv.Skip(t, err.Error())
			} else if err != nil {
				t.Fatal(err)
			}
			server := labtest.StartServer(t, labtest.ServerOptions{Executable: path})
			ex.WaitAttached(server.PID)
			until(t, ex, server, threshold)
			const of = "service=shop&limit=0&path="
			before := ex.Hotspots(of + "/burn")

			visit(t, server).ask(t, "/stuck") // slow from then on, and asleep
			server.Get(t, "/background?ms=3000")
			slowest := 0.0
			for range 20 {
				began := time.Now()
				burn(t, server, "early=20")
				slowest = max(slowest, time.Since(began).Seconds())
			}
			truth := burn(t, server, "early=50&sleep=300&late=2000")
			slowest = max(slowest, truth.Early)

			var all []labtest.Hotspot
			labtest.Settles(t, func() error {
				all = since(before, ex.Hotspots(of+"/burn"))
				x, sum := ex.Scrape(), 0
				for _, h := range ex.Hotspots("limit=0&service=shop") {
					sum += h.Samples
					const period = 2004008 * time.Nanosecond // a 499th of a second
					if err := same("seconds", math.Round(h.CPU*1e9), float64(h.Samples)*float64(period)); err != nil {
						return err
					}
				}
				return errors.Join(
					same("samples in the stacks and in the metric", float64(sum), x.Value(hotspotSamples, labtest.Labels{"service": "shop"})),
					atLeast("samples in main.burnLate", sampled(all, "main.burnLate"), 1))
			})
			if got := sampled(ex.Hotspots(of+"/stuck"), "main.stuck"); got != 0 {
				t.Errorf("%d samples of a request that sleeps", got)
			}
			if got := sampled(ex.Hotspots("limit=0"), "main.burnInBackground"); got != 0 {
				t.Errorf("%d samples of what works for no request", got)
			}
			if got := sampled(all, "main.burnEarly"); got != 0 && slowest < threshold {
				t.Errorf("%d samples of what requests did before they were slow", got)
			}
			compareTime(t, all, truth)
			compareStack(t, all, truth)
		})
	}
}

// since is what came after another look.
func since(before, now []labtest.Hotspot) (all []labtest.Hotspot) {
	for _, h := range now {
		for _, b := range before {
			if fmt.Sprint(b.Service, b.Path, b.Frames) == fmt.Sprint(h.Service, h.Path, h.Frames) {
				h.Samples -= b.Samples
			}
		}
		if h.Samples > 0 {
			all = append(all, h)
		}
	}
	return all
}

// compareTime compares with the processor time that the kernel has accounted to the
// thread. A clock that is in step with nothing misses or hits what lasts shorter than its
// period at random: if all of the time came in such pieces, the number of samples would be
// that of a Poisson process, whose standard deviation is the root of its mean. A thread
// that runs for many periods in a row varies less.
func compareTime(t *testing.T, all []labtest.Hotspot, truth burned) {
	t.Helper()
	got, want := float64(sampled(all, "main.burnLate")), truth.Seconds*499
	if math.Abs(got-want) > 6*math.Sqrt(want) {
		t.Errorf("%v samples in main.burnLate, its %.3f s of processor time are %.0f ± %.0f", got, truth.Seconds, want, 6*math.Sqrt(want))
	}
}

// compareStack wants that most samples have the very stack that the server saw, below the
// function that has no frame.
func compareStack(t *testing.T, all []labtest.Hotspot, truth burned) {
	t.Helper()
	want, matching := append([]string{"main.spin"}, truth.Stack...), 0
	for _, h := range all {
		if !slices.Equal(functions(h), want) {
			continue
		}
		matching += h.Samples
		leaf, caller := h.Frames[0], h.Frames[1]
		if leaf.File != truth.File || leaf.Line < truth.Spin || leaf.Line > truth.Spin+5 {
			t.Errorf("main.spin at %s:%d, want %s:%d to %d", leaf.File, leaf.Line, truth.File, truth.Spin, truth.Spin+5)
		}
		if caller.File != truth.File || caller.Line != truth.Line {
			t.Errorf("main.spin is called at %s:%d, want %s:%d", caller.File, caller.Line, truth.File, truth.Line)
		}
	}
	if total := sampled(all, "main.burnLate"); matching < total*9/10 {
		t.Errorf("%d of %d samples have the stack\n%s", matching, total, strings.Join(want, "\n"))
		for _, h := range all {
			t.Logf("%d: %s", h.Samples, strings.Join(functions(h), " "))
		}
	}
}

// Without a threshold in tcpslo.yml it is what slow requests of the process take.
func TestHotspots_need_no_threshold_in_the_configuration(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: "collectors: {hotspots: true}"})
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := ex.WaitAttached(server.PID).Name
	v := visit(t, server)
	for range 100 {
		v.ask(t, "/hello/x")
		v.answer(t)
	}
	burn(t, server, "late=1000")
	labtest.Settles(t, func() error {
		all, sum := ex.Hotspots("limit=0&path=/burn&service="+service), 0
		for _, h := range all {
			sum += h.Samples
		}
		return errors.Join(atLeast("samples", sampled(all, "main.burnLate"), 1),
			same("samples of the metric", ex.Scrape().Value(hotspotSamples, labtest.Labels{"service": service, "path": "/burn"}), float64(sum)))
	})
	_, folded := ex.Get("/api/v1/hotspots?format=folded&path=/burn")
	if want := service + ";/burn;runtime.goexit;net/http.(*conn).serve;net/http.serverHandler.ServeHTTP;"; !strings.Contains("\n"+folded, "\n"+want) || !strings.Contains(folded, ";main.burnFor;main.spin ") {
		t.Errorf("the folded stacks are\n%s\nwant one that begins with %s", folded, want)
	}
}

func TestHotspots_of_a_process_that_ends_leave_nothing_in_the_maps(t *testing.T) {
	ex := startHotspots(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex.WaitAttached(server.PID)
	until(t, ex, server, 0.2)
	burn(t, server, "sleep=300&late=200")
	of := labtest.Labels{"probe": "hotspots"}
	if got := ex.Scrape().Value("tcpslo_map_entries", of); got == 0 {
		t.Error("nothing is in the maps")
	}
	samples := 0.0
	labtest.Eventually(t, func() error {
		samples = ex.Scrape().Value(hotspotSamples, labtest.Labels{"service": "shop"})
		return atLeast("samples", samples, 1)
	})
	server.Kill()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(same("entries", x.Value("tcpslo_map_entries", of), 0),
			same("samples", x.Value(hotspotSamples, labtest.Labels{"service": "shop"}), samples))
	})
}

func TestHotspots_are_off_by_default(t *testing.T) {
	ex := start(t)
	if got := ex.Scrape().Series("tcpslo_probe_info", labtest.Labels{"probe": "hotspots"}); len(got) != 0 {
		t.Errorf("loaded: %v", got)
	}
	if status, body := ex.Get("/api/v1/hotspots"); status != http.StatusNotFound || !strings.Contains(body, "collectors: {hotspots: true}") {
		t.Errorf("status %d: %s", status, body)
	}
	// Programs at tracepoints are perf events, too.
	without, with := ex.OpenFiles(), startHotspots(t).OpenFiles()
	if got, want := with["anon_inode:[perf_event]"]-without["anon_inode:[perf_event]"], runtime.NumCPU(); got != want {
		t.Errorf("%d perf events more, want one for each of %d CPUs", got, want)
	}
}
