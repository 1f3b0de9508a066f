// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// traced is what a traceback tells of a goroutine.
type traced struct {
	parent          uint64
	createdBy, line string
	does            string // why it waits, or else its status
}

var (
	header    = regexp.MustCompile(`^goroutine (\d+) \[([^],]+)`)
	createdBy = regexp.MustCompile(`(?m)^created by (.+?)(?: in goroutine (\d+))?\n\t(\S+)`)
)

// parseTraceback reads a traceback of all goroutines. Of the one that made it, and
// of the one with which net/http meanwhile watches its client, there is no knowing
// what they do later.
func parseTraceback(t *testing.T, text string) map[uint64]traced {
	t.Helper()
	all := map[uint64]traced{}
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		head := header.FindStringSubmatch(block)
		if head == nil {
			t.Fatalf("not a goroutine: %q", block)
		}
		id, _ := strconv.ParseUint(head[1], 10, 64)
		g := traced{does: head[2]}
		if by := createdBy.FindStringSubmatch(block); by != nil {
			g.createdBy, g.line = by[1], by[3]
			g.parent, _ = strconv.ParseUint(by[2], 10, 64)
		}
		all[id] = g
	}
	return calm(all)
}

func calm(all map[uint64]traced) map[uint64]traced {
	for id, g := range all {
		if g.does == "running" {
			g.does = "IO wait" // for the next request
		}
		if all[id] = g; g.createdBy == "net/http.(*connReader).startBackgroundRead" {
			delete(all, id)
		}
	}
	return all
}

// read reads the goroutines of a process as a traceback shows them.
func read(reader *Reader, pid uint32) (map[uint64]traced, error) {
	all := map[uint64]traced{}
	err := reader.Each(pid, func(g Goroutine) {
		if g.IsSystem() {
			return
		}
		one := traced{g.Parent, g.CreatedBy, g.CreatedAt, g.Status}
		if g.WaitReason != "" {
			one.does = g.WaitReason
		}
		if g.ID == 1 { // its traceback does not tell
			one.createdBy = ""
		}
		all[g.ID] = one
	})
	return calm(all), err
}

func differences(got, want map[uint64]traced) error {
	var errs []error
	for id, w := range want {
		if g, ok := got[id]; !ok || g != w {
			errs = append(errs, fmt.Errorf("goroutine %d is %+v, want %+v", id, g, w))
		}
	}
	for id, g := range got {
		if _, ok := want[id]; !ok {
			errs = append(errs, fmt.Errorf("goroutine %d is %+v, want none", id, g))
		}
	}
	return errors.Join(errs...)
}

// cells are the executables to read: every release stripped, and every other mode of
// the oldest and the newest two, or of all with TCPSLO_MATRIX=full.
func cells() []gobuild.Spec {
	versions := gobuild.Versions()
	chosen := []string{versions[0], versions[len(versions)-2], versions[len(versions)-1]}
	var all []gobuild.Spec
	for _, version := range versions {
		for _, mode := range []gobuild.Mode{gobuild.Plain, gobuild.Stripped, gobuild.PIE, gobuild.External} {
			if mode == gobuild.Stripped || slices.Contains(chosen, version) || os.Getenv("TCPSLO_MATRIX") == "full" {
				all = append(all, gobuild.Spec{Package: "../../lab/server", Toolchain: version, Mode: mode})
			}
		}
	}
	return all
}

// start runs lab/server, or skips the test where there is no such build.
func start(t *testing.T, spec gobuild.Spec) *labtest.Server {
	t.Helper()
	path, err := gobuild.Build(t.Context(), spec)
	if errors.Is(err, gobuild.ErrNoToolchain) || errors.Is(err, gobuild.ErrNoCompiler) {
		testenv.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return labtest.StartServer(t, labtest.ServerOptions{Executable: path})
}

// strand sends a request that does not end until the test does.
func strand(t *testing.T, server *labtest.Server, path string) {
	t.Helper()
	response, err := http.Get("http://" + server.Listen[0] + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if _, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func TestGoroutines_of_every_release_and_build_mode_are_those_of_its_own_traceback(t *testing.T) {
	for _, spec := range cells() {
		t.Run(fmt.Sprintf("%s %s", spec.Toolchain, spec.Mode), func(t *testing.T) {
			server, reader := start(t, spec), NewReader("/proc")
			pid := uint32(server.PID)
			server.Get(t, "/leak?n=3000") // more than one system call reads
			strand(t, server, "/stuck")
			labtest.Eventually(t, func() error {
				want := parseTraceback(t, server.Get(t, "/-/goroutines"))
				got, err := read(reader, pid)
				if err != nil {
					t.Fatal(err)
				}
				if len(want) < 3000 {
					t.Fatalf("the traceback has %d goroutines, want at least 3000", len(want))
				}
				return errors.Join(differences(got, want), compareWaiting(reader, pid, want))
			})
			leaked := created(t, reader, pid, "main.leak")
			if len(leaked) != 3000 {
				t.Errorf("%d goroutines created by main.leak, want 3000", len(leaked))
			}
			addresses := []uint64{0xdead} // where nothing is mapped
			for _, want := range leaked {
				addresses = append(addresses, want.Address)
			}
			got, err := reader.At(pid, addresses)
			if err != nil || len(got) != len(leaked) {
				t.Fatalf("%d goroutines at the addresses of %d, %v", len(got), len(leaked), err)
			}
			for _, want := range leaked {
				if got[want.Address] != want {
					t.Fatalf("at %#x is %+v, want %+v", want.Address, got[want.Address], want)
				}
			}
		})
	}
}

// compareWaiting compares the goroutines that wait for a descriptor with those that
// are in IO wait according to a traceback.
func compareWaiting(reader *Reader, pid uint32, traced map[uint64]traced) error {
	descriptors, err := reader.Descriptors(pid)
	if err != nil {
		return err
	}
	got, want := map[uint64]bool{}, map[uint64]bool{}
	for _, d := range descriptors {
		for _, address := range d.Waiting {
			if address != 0 {
				at, err := reader.At(pid, []uint64{address})
				g, ok := at[address]
				if !ok || d.Socket() == 0 {
					return fmt.Errorf("who waits for %+v: %v", d, err)
				}
				if g.CreatedBy != "net/http.(*connReader).startBackgroundRead" { // of the stuck request
					got[g.ID] = true
				}
			}
		}
	}
	for id, g := range traced {
		if g.does == ioWait {
			want[id] = true
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("goroutines %v wait for descriptors, want %v", got, want)
	}
	return nil
}

// created lists the goroutines that a function created.
func created(t testing.TB, reader *Reader, pid uint32, function string) []Goroutine {
	t.Helper()
	var all []Goroutine
	err := reader.Each(pid, func(g Goroutine) {
		if g.CreatedBy == function {
			all = append(all, g)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestGoroutines_that_stay_are_all_read_while_others_come_and_go(t *testing.T) {
	server, reader := start(t, gobuild.Spec{Package: "../../lab/server"}), NewReader("/proc")
	want, done := 0, make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-done:
					return
				default:
				}
				if response, err := client.Get("http://" + server.Listen[0] + "/hello/you"); err == nil {
					response.Body.Close()
				}
			}
		})
	}
	defer func() {
		close(done)
		load.Wait()
	}()
	// Meanwhile runtime.allgs moves, each time that it has to grow.
	for n := range 100 {
		server.Get(t, fmt.Sprintf("/leak?n=%d", 10*n))
		want += 10 * n
		if got := len(created(t, reader, uint32(server.PID), "main.leak")); got != want {
			t.Fatalf("%d goroutines created by main.leak, want %d", got, want)
		}
	}
}

func TestErrors_tell_why_a_process_has_no_goroutines_to_read(t *testing.T) {
	sleep := exec.Command("sleep", "300")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	server, reader := start(t, gobuild.Spec{Package: "../../lab/server"}), NewReader("/proc")
	none := func(Goroutine) {}
	if err := reader.Each(uint32(sleep.Process.Pid), none); !errors.Is(err, goexe.ErrNotGo) {
		t.Errorf("a process that is not Go: %v", err)
	}
	pid := uint32(server.PID)
	server.Kill()
	if err := reader.Each(pid, none); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		t.Errorf("a process that has ended: %v", err)
	}
}

func TestProcess_of_another_user_is_refused_without_the_right_to_trace_it(t *testing.T) {
	testenv.NeedRoot(t)
	server := start(t, gobuild.Spec{Package: "../../lab/server"})
	refused := make(chan error)
	go func() {
		// The thread is another user's from now on and is thrown away.
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			refused <- errno
			return
		}
		refused <- NewReader("/proc").Each(uint32(server.PID), func(Goroutine) {})
	}()
	if err := <-refused; !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), fmt.Sprint(server.PID)) {
		t.Errorf("got %v, want a refusal that names process %d", err, server.PID)
	}
}

// BenchmarkEach_of_10000_goroutines reads the process's own.
func BenchmarkEach_of_10000_goroutines(b *testing.B) {
	end := make(chan struct{})
	defer close(end)
	for range 10_000 {
		go func() { <-end }()
	}
	reader, n := NewReader("/proc"), 0
	for b.Loop() {
		n = 0
		if err := reader.Each(uint32(os.Getpid()), func(Goroutine) { n++ }); err != nil {
			b.Fatal(err)
		}
	}
	if n < 10_000 {
		b.Fatalf("read %d goroutines, want at least 10,000", n)
	}
}
