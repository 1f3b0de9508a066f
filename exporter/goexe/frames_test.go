// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// runtimeFrames is what the runtime makes of an address of the test itself. It shows
// what calls were inlined into only where another address follows.
func runtimeFrames(address uint64) []Frame {
	last := reflect.ValueOf(runtimeFrames).Pointer()
	all := runtime.CallersFrames([]uintptr{uintptr(address) + 1, last + 1})
	var frames []Frame
	for more := true; more; {
		var f runtime.Frame
		f, more = all.Next()
		frames = append(frames, Frame{f.Function, f.File, f.Line})
	}
	return frames[:len(frames)-1]
}

func TestFrames_are_those_that_the_runtime_of_the_process_shows(t *testing.T) {
	x := open(t, "/proc/self/exe")
	known := reflect.ValueOf(runtimeFrames).Pointer()
	inFile, err := x.Function(runtime.FuncForPC(known).Name())
	if err != nil {
		t.Fatal(err)
	}
	bias := uint64(known) - inFile.Address
	addresses, inlined := 0, 0
	for _, name := range x.FunctionsWithPrefix("") {
		f, err := x.Function(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "go:") { // where the text begins and ends
			continue
		}
		for i := range uint64(8) {
			address := f.Address + i*f.Size/8
			want := runtimeFrames(address + bias)
			if slices.ContainsFunc(want, func(f Frame) bool { return f.Function == "" }) {
				continue // the first of all names, which the runtime takes for none
			}
			calls, err := x.functions.calls(address)
			var got []Frame
			for i, c := range calls {
				// The runtime shows a wrapper only where it is asked for one.
				if i == 0 || c.kind != x.functions.wrapper() {
					got = append(got, c.Frame)
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%q + %d: got %v, %v; want %v", name, address-f.Address, got, err, want)
			}
			addresses++
			if len(want) > 1 {
				inlined++
			}
		}
	}
	if inlined < 1000 {
		t.Errorf("only %d of %d addresses are in inlined calls", inlined, addresses)
	}
}

func TestFrames_of_what_is_no_code_are_refused(t *testing.T) {
	x := open(t, "/proc/self/exe")
	if got, err := x.Frames(1); !errors.Is(err, ErrNoFunction) {
		t.Errorf("got %v, %v; want %v", got, err, ErrNoFunction)
	}
}
