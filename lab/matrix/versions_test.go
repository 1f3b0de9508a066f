// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
	"github.com/tcpslo/tcpslo/lab/truth"
)

// install puts an executable at a path as a deployment does: written beside it,
// then renamed over it.
func install(t *testing.T, executable, path string) {
	t.Helper()
	data, err := os.ReadFile(executable)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// quick routes have no handler that outlives the client: the server may be
// killed as soon as the last answer is there.
var quick = truth.Mix{"GET /hello/{name}": 3, "POST /items": 1, "DELETE /items/{id}": 1}

func add(books ...truth.Counts) truth.Counts {
	sum := truth.Counts{}
	for _, book := range books {
		for key, tally := range book {
			tally.N += sum[key].N
			tally.Seconds += sum[key].Seconds
			sum[key] = tally
		}
	}
	return sum
}

func TestOld_and_new_version_of_a_replaced_executable_count_side_by_side(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop")
	exporter := labtest.StartExporter(t, labtest.Options{Config: withService(path)})
	var books []truth.Counts
	var servers []*labtest.Server
	for _, toolchain := range []string{gobuild.Go126, gobuild.Go127, gobuild.Go126} {
		install(t, build(t, gobuild.Spec{Toolchain: toolchain, Mode: gobuild.Stripped}), path)
		server := labtest.StartServer(t, labtest.ServerOptions{Executable: path})
		exporter.WaitAttached(server.PID)
		servers = append(servers, server)
		for i, running := range servers { // those before it serve on
			books = append(books, run(t, "http://"+running.Listen[0], truth.Plan{Requests: 300, Seed: int64(i), Concurrency: 4}).Counts)
		}
	}
	compare(t, exporter, "lab", add(books...))
}

func TestProcesses_of_one_executable_are_counted_from_their_first_request(t *testing.T) {
	executable := build(t, gobuild.Spec{})
	exporter, first := service(t, executable, withService(executable))
	books := []truth.Counts{run(t, "http://"+first.Listen[0], truth.Plan{Requests: 50, Seed: 1, Mix: quick}).Counts}
	// The probes stand in the file: nobody has to wait until a new process is seen.
	for i := range 20 {
		server := labtest.StartServer(t, labtest.ServerOptions{Executable: executable})
		books = append(books, run(t, "http://"+server.Listen[0], truth.Plan{Requests: 50, Seed: int64(i), Mix: quick}).Counts)
		server.Kill()
	}
	compare(t, exporter, "lab", add(books...))
}

func TestProcess_that_executes_another_program_is_observed(t *testing.T) {
	executable := build(t, gobuild.Spec{})
	path := filepath.Join(t.TempDir(), "start")
	script := "#!/bin/sh\nexec " + executable + " \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	exporter := labtest.StartExporter(t, labtest.Options{Config: withService(executable)})
	server := labtest.StartServer(t, labtest.ServerOptions{Executable: path})
	exporter.WaitAttached(server.PID)
	compare(t, exporter, "lab", run(t, "http://"+server.Listen[0], truth.Plan{Requests: 200, Seed: 1}).Counts)
}

func TestExecutable_that_is_written_over_after_its_last_process_is_free_of_probes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop")
	exporter := labtest.StartExporter(t, labtest.Options{Config: withService(path)})
	var books []truth.Counts
	for i, toolchain := range []string{gobuild.Go126, gobuild.Go127, gobuild.Go126, gobuild.Go127} {
		data, err := os.ReadFile(build(t, gobuild.Spec{Toolchain: toolchain, Mode: gobuild.Stripped}))
		if err != nil {
			t.Fatal(err)
		}
		// The same inode, as `cp new old` does it: a probe of the old content would
		// break the new one.
		began := time.Now()
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("writing took %v: the exporter did not give way", took)
		}
		server := labtest.StartServer(t, labtest.ServerOptions{Executable: path})
		exporter.WaitAttached(server.PID)
		books = append(books, run(t, "http://"+server.Listen[0], truth.Plan{Requests: 200, Seed: int64(i), Mix: quick}).Counts)
		server.Kill()
	}
	compare(t, exporter, "lab", add(books...))
}
