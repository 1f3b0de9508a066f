// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// What the exporter asks of a server, with the releases that have it.
type wantedField struct {
	structType, field string
	since, until      int // minor versions; 0 is no limit
}

var wantedFields = []wantedField{
	{"runtime.g", "goid", 0, 0},
	{"runtime.g", "m", 0, 0},
	{"runtime.g", "atomicstatus", 0, 0},
	{"runtime.g", "_panic", 0, 0},
	{"runtime.g", "stack", 0, 0},
	{"runtime.g", "stack.hi", 0, 0},
	{"runtime.g", "gopc", 0, 0},
	{"runtime.g", "startpc", 0, 0},
	{"runtime.g", "waitreason", 0, 0},
	{"runtime.g", "waitsince", 0, 0},
	{"runtime.g", "parentGoid", 21, 0},
	{"runtime.pollDesc", "fd", 0, 0},
	{"runtime.pollDesc", "rg", 0, 0},
	{"runtime.pollDesc", "wg", 0, 0},
	{"runtime.m", "procid", 0, 0},
	{"runtime.m", "curg", 0, 0},
	{"net/http.response", "conn", 0, 0},
	{"net/http.response", "req", 0, 0},
	{"net/http.response", "wroteHeader", 0, 0},
	{"net/http.response", "written", 0, 0},
	{"net/http.response", "status", 0, 0},
	{"net/http.conn", "server", 0, 0},
	{"net/http.conn", "rwc", 0, 0},
	{"net/http.conn", "tlsState", 0, 0},
	{"net/http.conn", "hijackedv", 0, 0},
	{"net/http.Server", "Addr", 0, 0},
	{"net/http.Server", "ReadTimeout", 0, 0},
	{"net/http.Server", "ReadHeaderTimeout", 0, 0},
	{"net/http.Server", "WriteTimeout", 0, 0},
	{"net/http.Server", "IdleTimeout", 0, 0},
	{"net/http.Request", "Method", 0, 0},
	{"net/http.Request", "URL", 0, 0},
	{"net/http.Request", "Pattern", 23, 0},
	{"net/http.Request", "ContentLength", 0, 0},
	{"net/url.URL", "Path", 0, 0},
	{"net.TCPConn", "conn", 0, 0},
	{"net.TCPConn", "conn.fd", 0, 0},
	{"net.netFD", "pfd.Sysfd", 0, 0},
	{"internal/poll.FD", "Sysfd", 0, 0},
	{"crypto/tls.Conn", "conn", 0, 0},
	{"crypto/tls.Conn", "in", 0, 0},
	{"crypto/tls.Conn", "vers", 0, 0},
	{"crypto/tls.Conn", "didResume", 0, 0},
	{"crypto/tls.Conn", "handshakeStatus", 0, 19},
	{"crypto/tls.Conn", "isHandshakeComplete", 20, 0},
	{"net/http.http2responseWriter", "rws", 0, 26},
	{"net/http.http2responseWriterState", "status", 0, 26},
	{"net/http.http2responseWriterState", "wroteHeader", 0, 26},
	{"net/http.http2responseWriterState", "conn", 0, 26},
	{"net/http/internal/http2.responseWriter", "rws", 27, 0},
	{"net/http/internal/http2.responseWriterState", "status", 27, 0},
	{"net/http/internal/http2.responseWriterState", "wroteHeader", 27, 0},
	{"net/http.http2ResponseWriter", "ResponseWriter", 27, 0},
	{"golang.org/x/net/http2.responseWriter", "rws", 0, 0},
	{"golang.org/x/net/http2.responseWriterState", "status", 0, 0},
	{"golang.org/x/net/http2.responseWriterState", "wroteHeader", 0, 0},
}

func (w wantedField) in(minor int) bool {
	return w.since <= minor && (w.until == 0 || minor <= w.until)
}

// TestStripped_executables_tell_what_symbols_and_DWARF_tell compares everything
// found in a stripped executable with the symbol table and the DWARF of the same
// program built with them.
func TestStripped_executables_tell_what_symbols_and_DWARF_tell(t *testing.T) {
	for _, b := range matrix() {
		t.Run(b.String(), func(t *testing.T) {
			x := open(t, compile(t, b, true))
			truth := readTruth(t, compile(t, b, false))

			if x.GoVersion() != "go"+b.toolchain || x.Arch() != b.arch || x.MainModule() != "example.com/server" {
				t.Errorf("is %q for %q with main module %q", x.GoVersion(), x.Arch(), x.MainModule())
			}
			t.Run("every function", func(t *testing.T) { truth.compareFunctions(t, x) })
			t.Run("every itab", func(t *testing.T) { truth.compareItabs(t, x, b.minor()) })
			if b.arch == runtime.GOARCH {
				t.Run("the itabs of a running process", func(t *testing.T) { compareLiveItabs(t, x, b) })
			}
			t.Run("what is inlined where", func(t *testing.T) { truth.compareInlined(t, x) })
			t.Run("what functions refer to", func(t *testing.T) { truth.compareReferences(t, open(t, compile(t, b, false))) })
			t.Run("lines", func(t *testing.T) { compareLines(t, compile(t, b, false)) })
			t.Run("the wanted fields", func(t *testing.T) { truth.compareWantedFields(t, x, b.minor()) })
			t.Run("every way through a connection", func(t *testing.T) { truth.compareSteps(t, x) })
			t.Run("every field", func(t *testing.T) { truth.compareAllFields(t, x) })
		})
	}
}

// attrGoKind tells structs from strings and slices, which are structs to DWARF
// (cmd/internal/dwarf).
const attrGoKind dwarf.Attr = 0x2900

// truth is what the compiler and linker wrote for debuggers.
type truth struct {
	entry     uint64
	functions []elf.Symbol
	variables map[string]uint64
	itabs     map[string]map[string]uint64 // interface → concrete type → address
	structs   map[string]*dwarf.StructType
	inlined   map[string]map[string]bool // function → those that hold a copy
}

func readTruth(t *testing.T, path string) *truth {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	tr := &truth{entry: f.Entry, variables: map[string]uint64{}, itabs: map[string]map[string]uint64{}, structs: map[string]*dwarf.StructType{}}
	var text, etext uint64
	for _, s := range symbols {
		switch s.Name {
		case "runtime.text":
			text = s.Value
		case "runtime.etext":
			etext = s.Value
		}
	}
	for _, s := range symbols {
		if pair, ok := cutAnyPrefix(s.Name, "go:itab.", "go.itab."); ok {
			concrete, iface, _ := strings.Cut(pair, ",")
			if tr.itabs[iface] == nil {
				tr.itabs[iface] = map[string]uint64{}
			}
			tr.itabs[iface][concrete] = s.Value
		}
		if elf.ST_TYPE(s.Info) == elf.STT_OBJECT {
			tr.variables[s.Name] = s.Value
		}
		// Among the functions of the C library that an external linker adds, Go's are
		// those in Go's part of the text that have a package. The names of functions
		// that compare types are spelled differently for debuggers and tracebacks.
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0 && s.Value >= text && s.Value < etext && strings.Contains(s.Name, ".") && !strings.Contains(s.Name, "(.text") && !strings.Contains(s.Name, ".cold") && !strings.HasPrefix(s.Name, "type") {
			tr.functions = append(tr.functions, s)
		}
	}
	data, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	names := map[dwarf.Offset]string{}
	origins := map[dwarf.Offset]map[dwarf.Offset]bool{} // caller → inlined
	var caller dwarf.Offset
	for r := data.Reader(); ; {
		entry, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if entry == nil {
			break
		}
		switch entry.Tag {
		case dwarf.TagStructType:
			if kind, _ := entry.Val(attrGoKind).(int64); kind != kindStruct {
				continue
			}
			typ, err := data.Type(entry.Offset)
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := typ.(*dwarf.StructType); ok {
				tr.structs[s.StructName] = s
			}
		case dwarf.TagSubprogram:
			caller = entry.Offset
			if origin, ok := entry.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
				caller = origin
			}
			if name, ok := entry.Val(dwarf.AttrName).(string); ok {
				names[entry.Offset] = name
			}
		case dwarf.TagInlinedSubroutine:
			if origins[caller] == nil {
				origins[caller] = map[dwarf.Offset]bool{}
			}
			origins[caller][entry.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)] = true
		}
	}
	tr.inlined = map[string]map[string]bool{}
	for caller, callees := range origins {
		for callee := range callees {
			if tr.inlined[names[callee]] == nil {
				tr.inlined[names[callee]] = map[string]bool{}
			}
			tr.inlined[names[callee]][names[caller]] = true
		}
	}
	return tr
}

func cutAnyPrefix(s string, prefixes ...string) (string, bool) {
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return rest, true
		}
	}
	return s, false
}

// baseName is the symbol's name without what the linker adds to tell an assembly
// function from its wrapper, and without type arguments, which tracebacks lack up
// to Go 1.20.
func baseName(symbol string) string {
	symbol = strings.TrimSuffix(strings.TrimSuffix(symbol, ".abi0"), ".abiinternal")
	return typeArguments.ReplaceAllString(symbol, "[...]")
}

var typeArguments = regexp.MustCompile(`\[.*\]`)

func (tr *truth) compareFunctions(t *testing.T, x *Executable) {
	if len(tr.functions) < 5000 {
		t.Fatalf("only %d functions have a symbol", len(tr.functions))
	}
	addresses := map[string][]uint64{}
	for _, s := range tr.functions {
		addresses[baseName(s.Name)] = append(addresses[baseName(s.Name)], s.Value)
	}
	for i, s := range tr.functions {
		f, err := x.FunctionAt(s.Value + s.Size - 1)
		if err != nil {
			t.Error(err)
			continue
		}
		if baseName(f.Name) != baseName(s.Name) || f.Address != s.Value || f.Size != s.Size {
			t.Errorf("%q is at %#x, %d bytes; found %q at %#x, %d bytes", s.Name, s.Value, s.Size, f.Name, f.Address, f.Size)
		}
		if i%40 != 0 || len(addresses[baseName(f.Name)]) > 1 {
			continue
		}
		f, err = x.Function(f.Name)
		if err != nil || f.Address != s.Value || f.Size != s.Size {
			t.Errorf("%q is at %#x, %d bytes; found by name at %#x, %d bytes: %v", s.Name, s.Value, s.Size, f.Address, f.Size, err)
		}
	}
	const prefix = "net/http.(*conn)."
	found := map[string]bool{}
	for _, name := range x.FunctionsWithPrefix(prefix) {
		found[name] = true
	}
	for name := range addresses {
		if strings.HasPrefix(name, prefix) != found[name] {
			t.Errorf("%q is in FunctionsWithPrefix(%q): %v", name, prefix, found[name])
		}
		delete(found, name)
	}
	if len(found) != 0 {
		t.Errorf("FunctionsWithPrefix(%q) has %v, which have no symbols", prefix, found)
	}
}

func (tr *truth) compareInlined(t *testing.T, x *Executable) {
	if n := len(tr.inlined["strings.HasPrefix"]); n < 10 {
		t.Fatalf("by DWARF, strings.HasPrefix is inlined into %d functions only", n)
	}
	for _, function := range []string{
		"net/http.Header.Get", "net/http.Error", "net/http.(*conn).setState", "sync.(*Mutex).Unlock", "net/http.serverHandler.ServeHTTP",
		"net/http.(*response).finishRequest", "net/url.(*URL).Hostname", "strings.HasPrefix", "runtime.add",
	} {
		into, err := x.InlinedInto(function)
		if err != nil && len(tr.inlined[function]) == 0 {
			continue // neither compiled nor inlined
		}
		if err != nil {
			t.Error(err)
		}
		got := map[string]bool{}
		for _, name := range into {
			got[name] = true
			if !tr.inlined[function][name] {
				t.Errorf("%q is inlined into %q, but not by DWARF", function, name)
			}
		}
		for name := range tr.inlined[function] {
			if !got[name] {
				t.Errorf("by DWARF, %q is inlined into %q", function, name)
			}
		}
	}
}

func (tr *truth) compareItabs(t *testing.T, x *Executable, minor int) {
	if minor < 27 {
		tr.compareItabSymbols(t, x)
	}
	// Go 1.27 has no such symbols any more, but an itab's first method has one.
	names := map[uint64]string{}
	for _, s := range tr.functions {
		names[s.Value] = s.Name
	}
	for _, test := range []struct{ concrete, iface, firstMethod string }{
		{"*net.TCPConn", "net.Conn", "net.(*TCPConn).Close"},
		{"*crypto/tls.Conn", "net.Conn", "crypto/tls.(*Conn).Close"},
		{"*net.TCPListener", "net.Listener", "net.(*TCPListener).Accept"},
		{"*net/http.response", "net/http.ResponseWriter", "net/http.(*response).Header"},
		{"*golang.org/x/net/http2.responseWriter", "net/http.ResponseWriter", "golang.org/x/net/http2.(*responseWriter).Header"},
		{"*net/http.ServeMux", "net/http.Handler", "net/http.(*ServeMux).ServeHTTP"},
	} {
		address, err := x.Itab(test.concrete, test.iface)
		if err != nil {
			t.Error(err)
			continue
		}
		method, err := x.image.pointer(address + itabMethods)
		if err != nil {
			t.Error(err)
		}
		if got := names[method]; got != test.firstMethod {
			t.Errorf("first method of the itab of %q in %q is %q, want %q", test.concrete, test.iface, got, test.firstMethod)
		}
	}
}

func (tr *truth) compareItabSymbols(t *testing.T, x *Executable) {
	if len(tr.itabs["net/http.ResponseWriter"]) < 3 || len(tr.itabs["net.Conn"]) < 2 {
		t.Fatalf("symbols of too few itabs: %v", tr.itabs)
	}
	for iface, concretes := range tr.itabs {
		if !plainName.MatchString(iface) {
			continue // a literal, or declared in a function: spelled differently for debuggers
		}
		itabs, err := x.Itabs(iface)
		if err != nil {
			t.Error(err)
		}
		if len(itabs) != len(concretes) {
			t.Errorf("%d itabs in %q, want %d", len(itabs), iface, len(concretes))
		}
		for concrete, want := range concretes {
			if got, err := x.Itab(concrete, iface); err != nil || got != want {
				t.Errorf("itab of %q in %q at %#x, want %#x: %v", concrete, iface, got, want, err)
			}
		}
	}
}

var plainName = regexp.MustCompile(`^[\w./-]+\.\pL\w*$`)

// compareLiveItabs runs the stripped executable, which prints what its interface
// values hold.
func compareLiveItabs(t *testing.T, x *Executable, b build) {
	cmd := exec.Command(compile(t, b, true), "addresses")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	main, err := x.Function("main.main")
	if err != nil {
		t.Fatal(err)
	}
	var bias uint64
	compared := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		var name, iface string
		var address uint64
		if _, err := fmt.Sscanf(line, "function main.main 0x%x", &address); err == nil {
			bias = address - main.Address
		}
		if _, err := fmt.Sscanf(line, "itab %s %s 0x%x", &name, &iface, &address); err != nil {
			continue
		}
		got, err := x.Itab(name, iface)
		if err != nil || got+bias != address {
			t.Errorf("itab of %q in %q at %#x, the process has it at %#x: %v", name, iface, got+bias, address, err)
		}
		compared[name] = true
	}
	if len(compared) != 6 {
		t.Errorf("compared the itabs of %v only", compared)
	}
}

// compareLines looks at every instruction of package main at which DWARF begins
// another line.
func compareLines(t *testing.T, path string) {
	x := open(t, path)
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	main, err := x.Function("main.main")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := data.Reader().SeekPC(main.Address)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := data.LineReader(unit)
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		file string
		line int
	}
	want := map[uint64]place{}
	for line := (dwarf.LineEntry{}); lines.Next(&line) == nil; {
		if !line.EndSequence {
			want[line.Address] = place{line.File.Name, line.Line}
		}
	}
	if len(want) < 100 {
		t.Fatalf("only %d lines in package main", len(want))
	}
	for address, w := range want {
		if file, line, err := x.Line(address); file != w.file || line != w.line || err != nil {
			t.Errorf("%#x is %s:%d, %v; want %s:%d", address, file, line, err, w.file, w.line)
		}
	}
}

// wantedReferences is where the exporter looks for variables of the runtime.
var wantedReferences = map[string]string{
	"runtime.allgadd":         "runtime.allgs",
	"runtime.goroutineheader": "runtime.waitReasonStrings",
}

// compareReferences wants the executable that the symbols are of: without them,
// variables lie elsewhere.
func (tr *truth) compareReferences(t *testing.T, x *Executable) {
	if x.Entry() != tr.entry {
		t.Errorf("execution begins at %#x, want %#x", x.Entry(), tr.entry)
	}
	for function, variable := range wantedReferences {
		references, err := x.References(function)
		if want, known := tr.variables[variable]; !known || err != nil || !slices.Contains(references, want) {
			t.Errorf("%q refers to %#x, %v, want %q at %#x among them", function, references, err, variable, want)
		}
	}
}

func (tr *truth) compareWantedFields(t *testing.T, x *Executable, minor int) {
	for _, w := range wantedFields {
		got, err := x.FieldOffset(w.structType, w.field)
		want, found := tr.offset(w.structType, w.field)
		if found != w.in(minor) {
			t.Errorf("DWARF has %q of %q: %v", w.field, w.structType, found)
		}
		if found && (err != nil || got != want) {
			t.Errorf("%q of %q at %d, DWARF says %d: %v", w.field, w.structType, got, want, err)
		}
		if !found && err == nil {
			t.Errorf("%q of %q at %d, but DWARF has no such field", w.field, w.structType, got)
		}
	}
}

func (tr *truth) offset(structType, path string) (uint64, bool) {
	s := tr.structs[structType]
	var offset uint64
	for {
		name, rest, nested := strings.Cut(path, ".")
		field := fieldOf(s, name)
		if field == nil {
			return 0, false
		}
		offset += uint64(field.ByteOffset)
		if !nested {
			return offset, true
		}
		typ := field.Type
		if typedef, ok := typ.(*dwarf.TypedefType); ok {
			typ = typedef.Type
		}
		s, _ = typ.(*dwarf.StructType)
		path = rest
	}
}

func fieldOf(s *dwarf.StructType, name string) *dwarf.StructField {
	if s == nil {
		return nil
	}
	for _, f := range s.Field {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// compareAllFields compares every field of every struct of some packages that is
// in the type data at all.
func (tr *truth) compareAllFields(t *testing.T, x *Executable) {
	compared := 0
	for name, s := range tr.structs {
		pkg, _ := splitTypeName(name)
		switch pkg {
		case "net/http", "net", "internal/poll", "crypto/tls", "golang.org/x/net/http2", "net/http/internal/http2":
		default:
			continue
		}
		if _, err := x.types.lookup(name); err != nil {
			continue // only ever on the stack
		}
		for _, f := range s.Field {
			if f.Name == "_" {
				continue
			}
			compared++
			got, err := x.FieldOffset(name, f.Name)
			if err != nil || got != uint64(f.ByteOffset) {
				t.Errorf("%q of %q at %d, DWARF says %d: %v", f.Name, name, got, f.ByteOffset, err)
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d fields compared", compared)
	}
}
