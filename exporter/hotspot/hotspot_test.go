// SPDX-License-Identifier: Apache-2.0

package hotspot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/exporter/metric"
)

// The compiled object says where everything is.
func TestSamples_are_laid_out_as_the_object_says(t *testing.T) {
	object, err := bpf.Object("hotspots")
	if err != nil {
		t.Fatal(err)
	}
	types, err := btf.LoadSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		decoded any
		members []string // in the order of the decoder's fields behind the first
	}{
		"stack_key": {stackKey{}, []string{"unused", "hash"}},
		"stack":     {rawStack{}, []string{"in_kernel", "return_address", "frames"}},
	} {
		var s *btf.Struct
		if err := types.TypeByName(name, &s); err != nil {
			t.Fatal(err)
		}
		if got := binary.Size(test.decoded); got != int(s.Size) {
			t.Errorf("struct %s has %d bytes, its decoder reads %d", name, s.Size, got)
		}
		decoded := reflect.TypeOf(test.decoded)
		for i, member := range s.Members[1:] {
			if member.Name != test.members[i] {
				t.Errorf("struct %s has %q where its decoder reads %q", name, member.Name, test.members[i])
			}
			at := decoded.Field(decoded.NumField() - len(test.members) + i)
			if member.Offset.Bytes() != uint32(at.Offset) {
				t.Errorf("%s.%s is at byte %d, its decoder reads at %d", name, member.Name, member.Offset.Bytes(), at.Offset)
			}
		}
	}
}

// names answers with what it is asked.
type names struct{ dead bool }

func (names) ServiceOfProcess(tgid, executable uint32) string {
	return fmt.Sprint(tgid, "/", executable)
}
func (n names) ProcessAlive(uint32, uint32) bool { return !n.dead }
func (names) Route(_, method, path string, source metric.RouteSource) string {
	return fmt.Sprint(method, " ", path, " ", source)
}

// sample is a stack of the test's own process, as the kernel would tell it: of the callers
// of here.
//
//go:noinline
func sample() (k stackKey, s rawStack, want []goexe.Frame) {
	callers := make([]uintptr, 100)
	callers = callers[:runtime.Callers(1, callers)]
	frames := runtime.CallersFrames(callers)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		want = append(want, goexe.Frame{Function: f.Function, File: f.File, Line: f.Line})
	}
	for i, pc := range callers {
		s.Addresses[i] = uint64(pc)
	}
	s.Addresses[0]-- // the address of what was interrupted
	s.Count = 7
	k = stackKey{PID: uint32(os.Getpid()), Executable: 3, Method: 1}
	copy(k.Path[:], "/a/b")
	return k, s, want
}

func raw(t *testing.T, record any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, record); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStack_of_a_process_is_named_as_its_own_runtime_names_it(t *testing.T) {
	k, s, want := sample()
	r := &Reader{Names: names{}, Store: NewStore(), Procfs: "/proc", Period: 10 * time.Millisecond}
	symbols := newSymbols(r.Procfs)
	for range 2 { // the second time from what is kept
		if err := r.add(symbols, raw(t, k), raw(t, s)); err != nil {
			t.Fatal(err)
		}
		symbols.close()
	}
	found := r.Store.Find(Query{})
	if len(found) != 1 {
		t.Fatalf("found %v, want one", found)
	}
	h := found[0]
	if h.Service != fmt.Sprint(os.Getpid(), "/3") || h.Path != "GET /a/b 0" || h.Samples != 14 || h.CPU != 140*time.Millisecond || !slices.Equal(h.Frames, want) {
		t.Errorf("got  %+v\nwant %+v", h, want)
	}
}

func TestStack_names_the_kernel_and_what_is_not_Go(t *testing.T) {
	k, s, want := sample()
	s.InKernel = 1
	for i := range s.Addresses[2:] {
		s.Addresses[2+i] = 0
	}
	s.Addresses[2], s.Addresses[3] = 1, 2 // two of no Go
	r := &Reader{Names: names{}, Store: NewStore(), Procfs: "/proc", Period: time.Second}
	if err := r.add(newSymbols(r.Procfs), raw(t, k), raw(t, s)); err != nil {
		t.Fatal(err)
	}
	want = append([]goexe.Frame{{Function: inKernel}}, want[0], want[1], goexe.Frame{Function: notGo})
	if got := r.Store.Find(Query{})[0].Frames; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSamples_of_a_process_that_has_ended_are_counted_as_lost(t *testing.T) {
	k, s, _ := sample()
	k.PID = 1 << 30 // there is none
	for _, n := range []names{{dead: true}, {}} {
		r := &Reader{Names: n, Store: NewStore(), Procfs: "/proc", Period: time.Second}
		if err := r.add(newSymbols(r.Procfs), raw(t, k), raw(t, s)); err != nil {
			t.Fatal(err)
		}
		if found := r.Store.Find(Query{}); r.Lost() != 7 || len(found) != 0 {
			t.Errorf("%d are lost and %d found, want 7 and none", r.Lost(), len(found))
		}
	}
}

func spot(service, path string, samples uint64, functions ...string) Hotspot {
	h := Hotspot{Service: service, Path: path, Samples: samples, CPU: time.Duration(samples) * 10 * time.Millisecond}
	for i, f := range functions {
		h.Frames = append(h.Frames, goexe.Frame{Function: f, File: f + ".go", Line: i + 1})
	}
	return h
}

func filled() *Store {
	s := NewStore()
	for _, h := range []Hotspot{
		spot("shop", "/a", 1, "x", "main"), spot("shop", "/a", 5, "y", "main"), spot("shop", "/b", 3, "x", "main"),
		spot("stock", "/a", 4, "x", "main"), spot("shop", "/a", 1, "x", "main"),
	} {
		s.Add(h)
	}
	return s
}

func TestHotspots_with_the_most_samples_come_first(t *testing.T) {
	s := filled()
	for query, want := range map[string]string{
		"":                     "shop/a:5 stock/a:4 shop/b:3 shop/a:2",
		"service=shop":         "shop/a:5 shop/b:3 shop/a:2",
		"path=/a":              "shop/a:5 stock/a:4 shop/a:2",
		"service=shop&path=/b": "shop/b:3",
		"service=none":         "",
		"limit=2":              "shop/a:5 stock/a:4",
		"limit=0":              "shop/a:5 stock/a:4 shop/b:3 shop/a:2",
		"service=&format=json": "shop/a:5 stock/a:4 shop/b:3 shop/a:2",
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range s.Find(q) {
			got = append(got, fmt.Sprintf("%s%s:%d", h.Service, h.Path, h.Samples))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q finds %q, want %q", query, text, want)
		}
	}
}

func TestHotspots_are_forgotten_after_an_hour(t *testing.T) {
	s, now := NewStore(), time.Unix(6000, 0)
	s.now = func() time.Time { return now }
	s.Add(spot("shop", "/a", 1, "x"))
	now = now.Add(50*time.Minute + 599*time.Second)
	s.Add(spot("shop", "/a", 2, "x"))
	if found := s.Find(Query{}); len(found) != 1 || found[0].Samples != 3 || found[0].CPU != 30*time.Millisecond {
		t.Errorf("within the hour %+v, want 3 samples", found)
	}
	now = now.Add(time.Second)
	if found := s.Find(Query{}); len(found) != 1 || found[0].Samples != 2 {
		t.Errorf("after the hour %+v, want 2 samples", found)
	}
}

func TestStacks_that_find_no_room_are_counted(t *testing.T) {
	s := NewStore()
	for i := range mostStacks + 3 {
		s.Add(spot("shop", "/a", 2, fmt.Sprint(i)))
	}
	s.Add(spot("shop", "/a", 2, "0")) // which is known
	if found := len(s.Find(Query{})); found != mostStacks || s.Lost() != 6 {
		t.Errorf("%d are kept and %d samples lost, want %d and 6", found, s.Lost(), mostStacks)
	}
}

func TestQuery_that_is_wrong_is_refused_with_what_is_allowed(t *testing.T) {
	for query, want := range map[string]string{
		"servce=shop":   `unknown parameter "servce", did you mean "service"?`,
		"max_age=1m":    `unknown parameter "max_age", must be one of "service", "path", "limit", "format"`,
		"format=svg":    `parameter "format" must be "json" or "folded", got "svg"`,
		"limit=-1":      `parameter "limit" must be a whole number, or 0 for all, got "-1"`,
		"path=a&path=b": `parameter "path" is given 2 times, must be given once`,
	} {
		w := httptest.NewRecorder()
		filled().List(w, httptest.NewRequest("GET", "/api/v1/hotspots?"+query, nil))
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusBadRequest || got != want {
			t.Errorf("%q: %d %s, want 400 %s", query, w.Code, got, want)
		}
	}
}

func TestList_answers_JSON_and_folded_stacks(t *testing.T) {
	s := filled()
	other := spot("shop", "/a", 10, "x", "main")
	other.Frames[0].Line = 99
	s.Add(other)
	s.Add(spot("shop", "/semi;colon", 1, "a b", "main"))
	w := httptest.NewRecorder()
	s.List(w, httptest.NewRequest("GET", "/api/v1/hotspots?format=folded", nil))
	const want = "shop;/a;main;x 12\nshop;/a;main;y 5\nshop;/b;main;x 3\nshop;/semi:colon;main;a b 1\nstock;/a;main;x 4\n"
	if got := w.Body.String(); got != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	w = httptest.NewRecorder()
	s.List(w, httptest.NewRequest("GET", "/api/v1/hotspots?limit=1", nil))
	var got any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"hotspots": []any{map[string]any{
		"service": "shop", "path": "/a", "samples": 10.0, "cpu_seconds": 0.1,
		"frames": []any{map[string]any{"function": "x", "file": "x.go", "line": 99.0}, map[string]any{"function": "main", "file": "main.go", "line": 2.0}},
	}}}; !reflect.DeepEqual(got, want) || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQuery_for_folded_stacks_finds_all_of_them(t *testing.T) {
	for query, want := range map[string]int{"": DefaultLimit, "format=folded": 0, "format=folded&limit=7": 7, "limit=0": 0} {
		if q, err := ParseQuery(query); err != nil || q.Limit != want {
			t.Errorf("%q has limit %d (%v), want %d", query, q.Limit, err, want)
		}
	}
}
