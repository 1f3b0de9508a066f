// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"errors"
	"strings"
	"testing"
)

// wantedSteps is how the connections of testdata/server and of the standard library
// lead on: through which field of which struct, and to which type if the field
// tells it.
var wantedSteps = []struct {
	concrete, structType, field string
	kind                        StepKind
	next                        string
}{
	{"*net.TCPConn", "net.TCPConn", "conn.fd", StepEnd, ""},
	{"*net.UnixConn", "net.UnixConn", "conn.fd", StepEnd, ""},
	{"*crypto/tls.Conn", "crypto/tls.Conn", "conn", StepInterface, ""},
	{"*main.embedding", "main.embedding", "Conn", StepInterface, ""},
	{"main.byValue", "main.byValue", "Conn", StepInterface, ""},
	{"main.direct", "net.TCPConn", "conn.fd", StepEnd, ""}, // the interface holds the *net.TCPConn
	{"*main.typed", "main.typed", "Conn", StepPointer, "*crypto/tls.Conn"},
	{"*main.nested", "main.nested", "inner.conn", StepInterface, ""},
	{"*main.named", "main.named", "namedConn", StepInterface, ""},
	{"*main.logged", "main.logged", "Conn", StepInterface, ""},
	// *main.torn has two fields to choose from, main.hidden has none.
}

// compareSteps compares them with the offsets of DWARF and with the hashes that
// the linker has put into the itabs too.
func (tr *truth) compareSteps(t *testing.T, x *Executable) {
	all, err := x.Unwrap("net.Conn", "net.netFD")
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]Step{}
	for _, s := range all {
		if _, twice := steps[s.Concrete]; twice {
			t.Errorf("%q has two steps", s.Concrete)
		}
		steps[s.Concrete] = s
	}
	for _, w := range wantedSteps {
		want := Step{Concrete: w.concrete, Hash: itabHash(t, x, w.concrete), Kind: w.kind}
		offset, found := tr.offset(w.structType, w.field)
		if !found {
			t.Fatalf("DWARF has no %q of %q", w.field, w.structType)
		}
		want.Offset = offset
		if w.next != "" {
			want.Next = itabHash(t, x, w.next)
		}
		if got := steps[w.concrete]; got != want {
			t.Errorf("got step %+v, want %+v", got, want)
		}
		delete(steps, w.concrete)
	}
	for concrete, s := range steps {
		if strings.Contains(concrete, "main.") {
			t.Errorf("unexpected step %+v", s)
		}
	}
}

// itabHash is the copy of the type's hash in the itab for net.Conn.
func itabHash(t *testing.T, x *Executable, concrete string) uint32 {
	t.Helper()
	itab, err := x.Itab(concrete, "net.Conn")
	if err != nil {
		t.Fatal(err)
	}
	hash, err := x.image.uint32(itab + 16)
	if err != nil || hash == 0 {
		t.Fatalf("hash %#x in the itab of %q: %v", hash, concrete, err)
	}
	return hash
}

func TestUnwrap_tells_what_the_executable_lacks(t *testing.T) {
	x := open(t, compile(t, build{toolchains[0], "amd64", "plain"}, true))
	for _, c := range []struct {
		iface, target string
		want          error
	}{
		{"net.Connection", "net.netFD", ErrNoItab},
		{"net.Conn", "net.netHandle", ErrNoType},
	} {
		if _, err := x.Unwrap(c.iface, c.target); !errors.Is(err, c.want) {
			t.Errorf("from %q to %q: got %v, want %v", c.iface, c.target, err, c.want)
		}
	}
}
