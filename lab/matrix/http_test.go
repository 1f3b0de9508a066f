// SPDX-License-Identifier: Apache-2.0

// Package matrix compares what the exporter says of HTTP requests with what an
// independent client counted, for every Go release and every way to build that
// matters.
package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
	"github.com/tcpslo/tcpslo/lab/truth"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

const duration = "tcpslo_http_request_duration_seconds"

// templates are the routes of lab/server, for routers that tell nothing.
var templates = []string{
	"/hello/{name}", "/items", "/items/{id}", "/status/{code}", "/implicit", "/early", "/stream", "/recovered",
	"/slow", "/big", "/deep", "/gone", "/panic", "/abort", "/hijack", "/nothing-here",
}

// withRoutes is a configuration that names them.
func withRoutes(executable string) string {
	return fmt.Sprintf("services:\n  - name: lab\n    match: {executable: %q}\n    routes: [\"%s\"]\n", executable, strings.Join(templates, `", "`))
}

// service runs a server and an exporter that observes it.
func service(t *testing.T, executable, config string, flags ...string) (*labtest.Exporter, *labtest.Server) {
	t.Helper()
	exporter := labtest.StartExporter(t, labtest.Options{Config: config})
	server := labtest.StartServer(t, labtest.ServerOptions{Executable: executable, Flags: flags})
	exporter.WaitAttached(server.PID)
	return exporter, server
}

// label is what the path of a request should be: the pattern, and for the one
// path that has no route its shape, which is the path itself.
func label(r truth.Request) string {
	if r.Template != "" {
		return r.Template
	}
	return r.Path
}

// compare wants every count of the exporter to equal the client's, no more and
// no fewer series, and the sums of durations to fit into what the client saw.
func compare(t *testing.T, exporter *labtest.Exporter, name string, want truth.Counts) {
	t.Helper()
	labtest.Settles(t, func() error {
		got := truth.Counts{}
		for _, s := range exporter.Scrape().Series(duration, labtest.Labels{"service": name}) {
			key := truth.Key{Method: s.Labels["method"], Path: s.Labels["path"], Status: s.Labels["status_code"]}
			got[key] = truth.Tally{N: s.Histogram.GetSampleCount()}
		}
		if differences := want.Differences(got); len(differences) > 0 {
			return errors.New("client and exporter differ:\n" + strings.Join(differences, "\n"))
		}
		return nil
	})
}

func run(t *testing.T, target string, plan truth.Plan) *truth.Result {
	t.Helper()
	if plan.Label == nil {
		plan.Label = label
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	result, err := truth.Run(ctx, target, plan)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestRequests_of_every_kind_are_counted_as_the_client_counts_them(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "lab.sock")
	for _, c := range []struct {
		name, scheme string
		flags        []string
		byRoutes     bool
	}{
		{name: "HTTP/1 by ServeMux", scheme: "http"},
		{name: "HTTP/1 in TLS", scheme: "https", flags: []string{"-tls"}},
		{name: "HTTP/2 in TLS", scheme: "h2", flags: []string{"-tls"}},
		{name: "HTTP/2 without TLS", scheme: "h2c", flags: []string{"-h2c"}},
		{name: "HTTP/1 over a unix socket", scheme: "unix", flags: []string{"-listen", "unix:" + socket}},
		{name: "copied requests", scheme: "http", flags: []string{"-router", "copy"}},
		{name: "a router that fills Pattern", scheme: "http", flags: []string{"-router", "fill"}},
		{name: "a router that does not, with routes", scheme: "http", flags: []string{"-router", "bare"}, byRoutes: true},
		{name: "wrapped connections", scheme: "http", flags: []string{"-router", "wrapped"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			executable := build(t, gobuild.Spec{})
			config, plan := withService(executable), truth.Plan{Requests: 10000, Seed: 1, Concurrency: 8}
			if c.byRoutes {
				config, plan.Label = withRoutes(executable), truth.ByTemplates(templates, "")
			}
			exporter, server := service(t, executable, config, c.flags...)
			target := c.scheme + "://" + server.Listen[0]
			if c.scheme == "unix" {
				target = "unix:" + socket
			}
			result := run(t, target, plan)
			compare(t, exporter, "lab", result.Counts)
			compareSums(t, exporter, result.Counts)
			if n := exporter.Scrape().Value("tcpslo_lost_total", labtest.Labels{"probe": "http"}); n != 0 {
				t.Errorf("%v events were lost", n)
			}
		})
	}
}

// compareSums wants the time in handlers to be what it must at least be (slow
// handlers sleep) and at most what the client waited.
func compareSums(t *testing.T, exporter *labtest.Exporter, want truth.Counts) {
	t.Helper()
	exposition := exporter.Scrape()
	for key, tally := range want {
		if key.Path == "/gone" || key.Path == "/hijack" {
			continue // the handler outlives what the client waits for
		}
		sum := exposition.HistogramSum(duration, labtest.Labels{"method": key.Method, "path": key.Path, "status_code": key.Status})
		if sum <= 0 || sum > tally.Seconds {
			t.Errorf("%v: %v s in the handler, the client waited %v s", key, sum, tally.Seconds)
		}
	}
}

func withService(executable string) string {
	return fmt.Sprintf("services:\n  - name: lab\n    match: {executable: %q}\n", executable)
}

func build(t *testing.T, spec gobuild.Spec) string {
	t.Helper()
	if path := os.Getenv("TCPSLO_LABSERVER"); path != "" && spec.Toolchain == "" {
		return path
	}
	spec.Package = "../server"
	path, err := gobuild.Build(t.Context(), spec)
	switch {
	case errors.Is(err, gobuild.ErrNoToolchain), errors.Is(err, gobuild.ErrNoCompiler):
		testenv.Skip(t, err.Error())
	case err != nil:
		t.Fatal(err)
	}
	return path
}

func TestStreams_of_the_HTTP2_server_of_x_net_are_counted(t *testing.T) {
	executable := filepath.Join(t.TempDir(), "serverxnet")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", executable, "../serverxnet").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	exporter, server := service(t, executable, withService(executable))
	mix := truth.Mix{"GET /hello/{name}": 5, "GET /implicit": 1, "GET /panic": 1}
	want := run(t, "h2c://"+server.Listen[0], truth.Plan{Requests: 2000, Seed: 1, Concurrency: 4, Mix: mix}).Counts
	// The connection itself began as a request, PRI * HTTP/2.0, whose handler has
	// taken it over; it has returned by now if the client has closed it.
	want[truth.Key{Method: "other", Path: "*", Status: "hijacked"}] = truth.Tally{N: 1}
	compare(t, exporter, "lab", want)
}
