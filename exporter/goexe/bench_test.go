// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"os"
	"runtime"
	"testing"
)

// ask is what the exporter asks of a server when it meets it.
func ask(tb testing.TB, path string) *Executable {
	tb.Helper()
	x, err := Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range probed {
		x.EntrySite(p.function) // some are of other releases
	}
	for _, w := range wantedFields {
		x.FieldOffset(w.structType, w.field)
	}
	if _, err := x.AfterCallSites(connServe, serveHTTP); err != nil {
		tb.Fatal(err)
	}
	if _, err := x.Itabs("net/http.ResponseWriter"); err != nil {
		tb.Fatal(err)
	}
	if _, err := x.Itab("*net.TCPConn", "net.Conn"); err != nil {
		tb.Fatal(err)
	}
	if _, err := x.Unwrap("net.Conn", "net.netFD"); err != nil {
		tb.Fatal(err)
	}
	return x
}

// subject is the executable to measure: GOEXE_BENCHMARK, or the server that the
// tests build.
func subject(tb testing.TB, mode string) string {
	if path := os.Getenv("GOEXE_BENCHMARK"); path != "" {
		return path
	}
	return compile(tb, build{toolchains[0], "amd64", mode}, true)
}

func BenchmarkOpen_and_resolve_a_server(b *testing.B) {
	for _, mode := range []string{"plain", "pie"} {
		b.Run(mode, func(b *testing.B) {
			path := subject(b, mode)
			b.ReportAllocs()
			for b.Loop() {
				ask(b, path).Close()
			}
		})
	}
}

func BenchmarkFunction(b *testing.B) {
	x := open(b, subject(b, "plain"))
	for b.Loop() {
		if _, err := x.Function(serveHTTP); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFieldOffset(b *testing.B) {
	x := open(b, subject(b, "plain"))
	for b.Loop() {
		if _, err := x.FieldOffset("net/http.response", "status"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFieldOffset_of_a_type_that_is_not_linked(b *testing.B) {
	x := open(b, subject(b, "plain"))
	for b.Loop() {
		if _, err := x.FieldOffset("google.golang.org/grpc.Server", "conns"); err == nil {
			b.Fatal("found")
		}
	}
}

func BenchmarkInlinedInto(b *testing.B) {
	x := open(b, subject(b, "plain"))
	for b.Loop() {
		if _, err := x.InlinedInto(serveHTTP); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMemory_that_an_executable_keeps_is_less_than_5_MB(t *testing.T) {
	path := subject(t, "pie")
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := ask(t, path)
	kept := int64(heap()) - int64(before)
	x.Close()
	t.Logf("%d kB", kept/1000)
	if kept > 5_000_000 {
		t.Errorf("keeps %d bytes", kept)
	}
}
