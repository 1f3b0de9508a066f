// SPDX-License-Identifier: Apache-2.0

package truth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/truth"
)

// everyRoute is the default mix with no route rare enough to be missed.
func everyRoute() truth.Mix {
	mix := truth.DefaultMix()
	for route, weight := range mix {
		mix[route] = max(weight, 3)
	}
	return mix
}

var plan = truth.Plan{Requests: 1500, Seed: 1, Concurrency: 6, Mix: everyRoute()}

// The server's handlers and the client keep separate books; here they have to agree
// for every protocol and every router, with no exporter looking on.
func TestClient_and_server_count_the_same_requests(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "server.sock")
	for _, c := range []struct {
		name   string
		scheme string
		flags  []string
	}{
		{"over HTTP/1", "http", nil},
		{"over HTTP/1 in TLS", "https", []string{"-tls"}},
		{"over HTTP/2 in TLS", "h2", []string{"-tls"}},
		{"over HTTP/2 without TLS", "h2c", []string{"-h2c"}},
		{"over a Unix socket", "unix", []string{"-listen", "unix:" + socket}},
		{"when a middleware copies the request", "http", []string{"-router", "copy"}},
		{"with a router that sets no pattern", "http", []string{"-router", "bare"}},
		{"with a router that sets the pattern itself", "http", []string{"-router", "fill"}},
		{"when a listener wraps the connections", "http", []string{"-router", "wrapped"}},
		{"when a listener wraps the connections below TLS", "https", []string{"-router", "wrapped", "-tls"}},
		{"over HTTP/1 where HTTP/2 without TLS is on too", "http", []string{"-h2c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := start(t, build(t), c.flags...)
			target := targetOf(server, c.scheme)
			result := drive(t, target, plan)
			compareWithServer(t, target, result)
			checkShape(t, c.scheme, result)
			if want := plan.Count("GET", "/early"); result.Informational != want {
				t.Errorf("saw %d informational responses, want one for each of %d requests of /early", result.Informational, want)
			}
		})
	}
}

// With TCPSLO_MATRIX=full it is every version built in every mode.
func TestClient_and_server_count_the_same_on_old_and_new_Go_versions(t *testing.T) {
	specs := []gobuild.Spec{
		{Toolchain: gobuild.Go118, Mode: gobuild.Plain},
		{Toolchain: gobuild.Go121, Mode: gobuild.Plain},
		{Toolchain: gobuild.Go127, Mode: gobuild.Plain},
	}
	if os.Getenv("TCPSLO_MATRIX") == "full" {
		specs = nil
		for _, toolchain := range gobuild.Versions() {
			for _, mode := range gobuild.Modes() {
				specs = append(specs, gobuild.Spec{Toolchain: toolchain, Mode: mode})
			}
		}
	}
	for _, spec := range specs {
		t.Run(spec.Toolchain+" "+string(spec.Mode), func(t *testing.T) {
			spec.Package = "../server"
			binary, err := gobuild.Build(t.Context(), spec)
			if errors.Is(err, gobuild.ErrUnsupported) {
				return // by that version's compiler: there is nothing to count
			}
			if errors.Is(err, gobuild.ErrNoToolchain) || errors.Is(err, gobuild.ErrNoCompiler) {
				testenv.Skip(t, err.Error())
			}
			if err != nil {
				t.Fatal(err)
			}
			server := start(t, binary, "-tls")
			for _, scheme := range []string{"https", "h2"} {
				// What has been counted before is taken off: one server serves both.
				target := targetOf(server, scheme)
				before := serverCounts(t, target)
				result := drive(t, target, plan)
				if diff := result.Counts.Differences(minus(serverCounts(t, target), before)); len(diff) > 0 {
					t.Errorf("over %s client and server disagree:\n%s", scheme, strings.Join(diff, "\n"))
				}
				checkShape(t, scheme, result)
			}
		})
	}
}

// compareWithServer compares the numbers exactly, and the time with what must hold: the
// handler's time is a part of the client's.
func compareWithServer(t *testing.T, target string, result *truth.Result) {
	t.Helper()
	server := serverCounts(t, target)
	if diff := result.Counts.Differences(server); len(diff) > 0 {
		t.Errorf("client and server disagree:\n%s", strings.Join(diff, "\n"))
	}
	for key, client := range result.Counts {
		outlives := key.Path == "/gone" || key.Path == "/hijack"
		if !outlives && server[key].Seconds > client.Seconds {
			t.Errorf("%v: %.6f s in the handlers, more than the %.6f s that the client waited", key, server[key].Seconds, client.Seconds)
		}
	}
}

// checkShape checks the books against what the routes are made to do.
func checkShape(t *testing.T, scheme string, result *truth.Result) {
	t.Helper()
	if got := result.Counts.Total(); got != uint64(plan.Requests) {
		t.Errorf("the books have %d requests, want the plan's %d", got, plan.Requests)
	}
	hijack := "hijacked"
	if strings.HasPrefix(scheme, "h2") {
		hijack = "501"
		if result.Connections != 1 {
			t.Errorf("HTTP/2 took %d connections, want 1", result.Connections)
		}
	}
	for route, status := range map[[2]string]string{
		{"GET", "/hello/{name}"}:  "200",
		{"HEAD", "/hello/{name}"}: "200",
		{"POST", "/items"}:        "201",
		{"DELETE", "/items/{id}"}: "204",
		{"GET", "/implicit"}:      "200",
		{"GET", "/early"}:         "200",
		{"GET", "/gone"}:          "200",
		{"GET", "/panic"}:         "panic",
		{"GET", "/abort"}:         "panic",
		{"GET", "/recovered"}:     "500",
		{"GET", "/hijack"}:        hijack,
		{"GET", ""}:               "404",
	} {
		key := truth.Key{Method: route[0], Path: route[1], Status: status}
		want := plan.Count(route[0], route[1])
		if want == 0 {
			t.Errorf("the plan has no request of %v: it proves nothing about it", route)
		}
		if got := result.Counts[key].N; got != want {
			t.Errorf("%v: counted %d, want the plan's %d", key, got, want)
		}
	}
}

func TestEvery_socket_of_a_reuseport_group_counts_its_own_connections(t *testing.T) {
	server := start(t, build(t), "-listen", "127.0.0.1:0,reuseport=4", "-listen", "127.0.0.1:0")
	if len(server.Listen) != 2 {
		t.Fatalf("the server listens on %q, want one address for each -listen", server.Listen)
	}
	target := targetOf(server, "http")
	mix := truth.Mix{"GET /hello/{name}": 1, "GET /hijack": 1} // a hijack ends a connection
	result := drive(t, target, truth.Plan{Requests: 400, Seed: 2, Concurrency: 4, Mix: mix})

	accepts, err := truth.ServerAccepts(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	var group, busy, other uint64
	inodes := map[uint64]bool{}
	for _, a := range accepts {
		inodes[a.Inode] = true
		if a.Listen != server.Listen[0] {
			other += a.Count
			continue
		}
		group += a.Count
		if a.Count > 0 {
			busy++
		}
	}
	if want := result.Connections + 1; group != want { // one more asked for the counts
		t.Errorf("the group accepted %d connections, want the client's %d and 1", group, result.Connections)
	}
	if result.Connections < 100 || busy != 4 {
		t.Errorf("%d connections reached %d of 4 sockets, want at least 100 on all", result.Connections, busy)
	}
	if other != 0 || len(accepts) != 5 || len(inodes) != 5 {
		t.Errorf("want 5 sockets, the last of them unused: %+v", accepts)
	}
}

func TestEach_worker_keeps_one_connection_alive(t *testing.T) {
	server := start(t, build(t))
	hello := truth.Plan{Requests: 60, Concurrency: 3, Mix: truth.Mix{"GET /hello/{name}": 1, "POST /items": 1, "HEAD /hello/{name}": 1, "DELETE /items/{id}": 1}}
	if got := drive(t, targetOf(server, "http"), hello).Connections; got != 3 {
		t.Errorf("3 workers opened %d connections, want 3", got)
	}
}

func TestA_plan_sends_the_same_requests_each_time(t *testing.T) {
	server := start(t, build(t))
	target := targetOf(server, "http")
	first, again := drive(t, target, plan), drive(t, target, plan)
	if diff := first.Counts.Differences(again.Counts); len(diff) > 0 {
		t.Errorf("the second run differs:\n%s", strings.Join(diff, "\n"))
	}
	if first.Connections != again.Connections {
		t.Errorf("the first run opened %d connections, the second %d", first.Connections, again.Connections)
	}
	other := plan
	other.Seed++
	if diff := first.Counts.Differences(drive(t, target, other).Counts); len(diff) == 0 {
		t.Error("another seed sent the same requests")
	}
}

func TestPaths_are_labelled_by_the_templates_given(t *testing.T) {
	server := start(t, build(t), "-router", "bare")
	labelled := truth.Plan{Requests: 300, Seed: 3, Concurrency: 2,
		Mix:   truth.Mix{"GET /hello/{name}": 1, "GET /items/{id}": 1, "POST /items": 1, "GET /nothing-here": 1},
		Label: truth.ByTemplates([]string{"/hello/{who}", "/{collection}"}, "other"),
	}
	got := drive(t, targetOf(server, "http"), labelled).Counts
	n := func(template, method string) uint64 { return labelled.Count(method, template) }
	want := truth.Counts{
		{Method: "GET", Path: "/hello/{who}", Status: "200"}:   {N: n("/hello/{name}", "GET")},
		{Method: "GET", Path: "other", Status: "200"}:          {N: n("/items/{id}", "GET")},
		{Method: "POST", Path: "/{collection}", Status: "201"}: {N: n("/items", "POST")},
		{Method: "GET", Path: "/{collection}", Status: "404"}:  {N: n("", "GET")},
	}
	if diff := want.Differences(got); len(diff) > 0 {
		t.Errorf("want and got differ:\n%s", strings.Join(diff, "\n"))
	}
}

func TestA_connection_lost_on_any_other_route_is_an_error(t *testing.T) {
	// The write timeout cuts the answer to a request that sleeps longer.
	server := start(t, build(t), "-write-timeout", "1ms")
	slow := truth.Plan{Requests: 1, Mix: truth.Mix{"GET /slow": 1}}
	if result, err := truth.Run(t.Context(), targetOf(server, "http"), slow); err == nil {
		t.Errorf("the cut was booked as %v, want an error", result.Counts)
	} else if !strings.Contains(err.Error(), "GET /slow") {
		t.Errorf("the error does not name the request: %v", err)
	}
}

func TestA_run_ends_with_its_context(t *testing.T) {
	server := start(t, build(t))
	long := truth.Plan{Requests: 10_000, Concurrency: 2, Mix: truth.Mix{"GET /slow": 1}} // over a minute
	for _, scheme := range []string{"http", "unix"} {
		target := targetOf(server, "http")
		if scheme == "unix" {
			server := start(t, build(t), "-listen", "unix:"+filepath.Join(t.TempDir(), "s.sock"))
			target = targetOf(server, "unix")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := truth.Run(ctx, target, long)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("over %s the run ended after %s with %v, want its context's end", scheme, time.Since(began), err)
		}
	}
}

func TestWrong_plans_and_targets_are_refused(t *testing.T) {
	ok := truth.Plan{Requests: 1}
	for _, c := range []struct {
		name, target, want string
		plan               truth.Plan
	}{
		{"an unknown route", "http://127.0.0.1:1", `unknown route "GET /x"`, truth.Plan{Requests: 1, Mix: truth.Mix{"GET /x": 1}}},
		{"an empty mix", "http://127.0.0.1:1", "mix is empty", truth.Plan{Requests: 1, Mix: truth.Mix{}}},
		{"no requests", "http://127.0.0.1:1", "at least 1 request", truth.Plan{}},
		{"an unknown scheme", "ftp://127.0.0.1:1", `unknown scheme "ftp"`, ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := truth.Run(t.Context(), c.target, c.plan)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestA_server_that_cannot_start_says_why(t *testing.T) {
	_, err := truth.Start(t.Context(), build(t), "-router", "magic")
	if err == nil || !strings.Contains(err.Error(), `unknown router "magic"`) {
		t.Errorf("got error %v, want the server's own message", err)
	}
}

// build builds the server with the host's Go.
func build(t *testing.T) string {
	t.Helper()
	binary, err := gobuild.Build(t.Context(), gobuild.Spec{Package: "../server"})
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// start runs the server for the length of the test, which fails if it does not
// shut down cleanly.
func start(t *testing.T, binary string, flags ...string) *truth.Server {
	t.Helper()
	// Not t.Context, which ends before the cleanup that stops the server.
	server, err := truth.Start(context.Background(), binary, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func targetOf(server *truth.Server, scheme string) string {
	if scheme == "unix" {
		return server.Listen[0]
	}
	return fmt.Sprintf("%s://%s", scheme, server.Listen[0])
}

func drive(t *testing.T, target string, p truth.Plan) *truth.Result {
	t.Helper()
	result, err := truth.Run(t.Context(), target, p)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func serverCounts(t *testing.T, target string) truth.Counts {
	t.Helper()
	counts, err := truth.ServerCounts(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func minus(counts, before truth.Counts) truth.Counts {
	difference := maps.Clone(counts)
	for _, key := range slices.Collect(maps.Keys(before)) {
		difference[key] = truth.Tally{N: counts[key].N - before[key].N, Seconds: counts[key].Seconds - before[key].Seconds}
	}
	return difference
}
