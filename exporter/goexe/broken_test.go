// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestOpen_says_why_a_file_will_not_do(t *testing.T) {
	oldest, err := os.ReadFile(compile(t, build{toolchains[len(toolchains)-1], "amd64", "plain"}, true))
	if err != nil {
		t.Fatal(err)
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	newest := "go" + toolchains[0]
	for _, test := range []struct {
		what    string
		content []byte
		want    error
		detail  string
	}{
		{"a script", []byte("#!/bin/sh\nexit 0\n"), ErrNotGo, "not an ELF file"},
		{"an empty file", nil, ErrNotGo, "not an ELF file"},
		{"a C program", shell, ErrNotGo, ""},
		{"Go 1.17", bytes.ReplaceAll(oldest, []byte("go1.18.10"), []byte("go1.17.13")), ErrUnsupportedVersion, `"go1.17.13"`},
		{"386", tiny(t, newest, "386"), ErrUnsupportedArch, "EM_386"},
		{"riscv64", tiny(t, newest, "riscv64"), ErrUnsupportedArch, "EM_RISCV"},
		{"half of an executable", oldest[:len(oldest)/2], nil, "truncated"},
		{"an ELF header alone", oldest[:64], nil, ""},
	} {
		t.Run(test.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, test.content, 0o755); err != nil {
				t.Fatal(err)
			}
			x, err := Open(path)
			if err == nil {
				x.Close()
				t.Fatal("opened")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want it to be %v", err, test.want)
			}
			if test.want == nil && (errors.Is(err, ErrNotGo) || errors.Is(err, ErrUnsupportedArch) || errors.Is(err, ErrUnsupportedVersion)) {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(err.Error(), test.detail) || !strings.Contains(err.Error(), path) {
				t.Errorf("%q names neither %q nor the file", err, test.detail)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file gives %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNotGo) {
		t.Errorf("a directory gives %v", err)
	}
}

func TestMinorVersion_reads_what_distributions_write(t *testing.T) {
	for version, want := range map[string]int{
		"go1.26.8":                           26,
		"go1.18":                             18,
		"go1.27rc1":                          27,
		"go1.24.3 X:nocoverageredesign":      24,
		"go1.22.3 (Red Hat 1.22.3-1.el9)":    22,
		"devel go1.28-ab12cd34 Mon Nov 2026": 28,
		"go1.17.13":                          0,
		"go1.9":                              0,
		"devel +ab12cd34":                    0,
		"unknown":                            0,
		"go1.":                               0,
		"":                                   0,
	} {
		got, err := minorVersion(version)
		if got != want || (err == nil) != (want != 0) || err != nil && !errors.Is(err, ErrUnsupportedVersion) {
			t.Errorf("%q is Go 1.%d, want %d: %v", version, got, want, err)
		}
	}
}

func TestErrors_tell_what_is_missing_and_why(t *testing.T) {
	x := open(t, compile(t, build{toolchains[0], "amd64", "plain"}, true))
	check := func(err, want error, words ...string) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want it to be %v", err, want)
			return
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not say %q", err, word)
			}
		}
	}
	_, err := x.Function("database/sql.(*DB).QueryContext")
	check(err, ErrNoFunction, `"database/sql.(*DB).QueryContext"`, "not linked")
	_, err = x.Function("net/http.Header.has") // one line, inlined since it was written
	check(err, ErrNoFunction, `"net/http.Header.has"`, "inlined away")
	_, err = x.Function("")
	check(err, ErrNoFunction)
	_, err = x.FunctionAt(1)
	check(err, ErrNoFunction, "0x1")
	_, err = x.FieldOffset("example.com/absent.Type", "field")
	check(err, ErrNoType, `"example.com/absent.Type"`)
	_, err = x.FieldOffset("response", "conn")
	check(err, ErrNoType, "import path")
	_, err = x.FieldOffset("text/response.response", "conn") // the base name of another package
	check(err, ErrNoType)
	_, err = x.FieldOffset("net/http.response", "absent")
	check(err, ErrNoField, `"absent"`, `"net/http.response"`)
	_, err = x.FieldOffset("net/http.response", "conn.server") // conn is a pointer
	check(err, ErrNoField, `"server"`, `"*net/http.conn"`)
	_, err = x.Itab("*net/http.response", "net.Conn")
	check(err, ErrNoItab, `"*net/http.response"`, `"net.Conn"`)
}

// TestOpen_reads_a_running_process_whose_file_is_gone covers /proc/PID/exe after
// a deployment replaced the executable.
func TestOpen_reads_a_running_process_whose_file_is_gone(t *testing.T) {
	content, err := os.ReadFile(compile(t, build{toolchains[0], "amd64", "plain"}, true))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	x := open(t, filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "exe"))
	if _, err := x.EntrySite(serveHTTP); err != nil {
		t.Error(err)
	}
}

// TestPIE_is_read_alike_when_its_words_hold_zero makes of a position-independent
// executable what LLVM's linker makes: pointers are in the relocations only.
func TestPIE_is_read_alike_when_its_words_hold_zero(t *testing.T) {
	for _, b := range []build{
		{toolchains[0], "amd64", "pie"}, {toolchains[0], "arm64", "pie"},
		{toolchains[len(toolchains)-1], "amd64", "pie"}, // moduledata has no section of its own
	} {
		t.Run(b.String(), func(t *testing.T) {
			path := compile(t, b, true)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := clearRelocated(t, content); n < 10000 {
				t.Fatalf("only %d relocations", n)
			}
			cleared, err := OpenReader(bytes.NewReader(content), int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			compareAnswers(t, open(t, path), cleared)
		})
	}
}

// clearRelocated sets to zero every word that a relative relocation applies to.
func clearRelocated(t *testing.T, content []byte) (cleared int) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		table, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		for ; len(table) >= 24; table = table[24:] {
			kind := binary.LittleEndian.Uint32(table[8:])
			if kind != uint32(elf.R_X86_64_RELATIVE) && kind != uint32(elf.R_AARCH64_RELATIVE) {
				continue
			}
			address := binary.LittleEndian.Uint64(table)
			for _, p := range f.Progs {
				if p.Type == elf.PT_LOAD && address >= p.Vaddr && address < p.Vaddr+p.Filesz {
					copy(content[address-p.Vaddr+p.Off:][:8], make([]byte, 8))
					cleared++
				}
			}
		}
	}
	return cleared
}

// TestExecutable_without_section_headers_is_read_alike covers what sstrip leaves
// and linkers that merge the sections which this package knows by name.
func TestExecutable_without_section_headers_is_read_alike(t *testing.T) {
	for _, toolchain := range toolchains {
		b := build{toolchain, "amd64", "plain"}
		t.Run(b.String(), func(t *testing.T) {
			path := compile(t, b, true)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			binary.LittleEndian.PutUint64(content[40:], 0) // e_shoff
			binary.LittleEndian.PutUint32(content[60:], 0) // e_shnum, e_shstrndx
			bare, err := OpenReader(bytes.NewReader(content), int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			compareAnswers(t, open(t, path), bare)
		})
	}
}

// compareAnswers asks both for what the exporter needs.
func compareAnswers(t *testing.T, want, got *Executable) {
	t.Helper()
	for _, w := range wantedFields {
		a, errA := want.FieldOffset(w.structType, w.field)
		b, errB := got.FieldOffset(w.structType, w.field)
		if a != b || (errA == nil) != (errB == nil) {
			t.Errorf("%q of %q at %d, want %d: %v", w.field, w.structType, b, a, errB)
		}
	}
	for _, p := range probed {
		a, errA := want.EntrySite(p.function)
		b, errB := got.EntrySite(p.function)
		if a != b || (errA == nil) != (errB == nil) {
			t.Errorf("entry of %q at %+v, want %+v: %v", p.function, b, a, errB)
		}
	}
	for _, iface := range []string{"net.Conn", "net/http.ResponseWriter", "net/http.Handler"} {
		a, errA := want.Itabs(iface)
		b, errB := got.Itabs(iface)
		if !slices.Equal(a, b) || errA != nil || errB != nil || len(a) == 0 {
			t.Errorf("itabs in %q: %v, want %v: %v, %v", iface, b, a, errB, errA)
		}
	}
}

// patched is a file in which some bytes are replaced and whose end may be gone.
type patched struct {
	base  []byte
	patch []byte
	at    int64
	size  int64
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= p.size {
		return 0, io.EOF
	}
	n := copy(b, p.base[off:p.size])
	for i, c := range p.patch {
		if at := p.at + int64(i) - off; at >= 0 && at < int64(n) {
			b[at] = c
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// interesting is the parts of an executable that this package takes decisions
// by, as offsets in the file.
func interesting(t testing.TB, content []byte) (ranges [][2]int64) {
	t.Helper()
	x, err := OpenReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	add := func(address, n uint64) {
		offset, err := x.image.fileOffset(address)
		if err == nil {
			ranges = append(ranges, [2]int64{int64(offset), int64(n)})
		}
	}
	ranges = append(ranges, [2]int64{0, 1024}) // ELF and program headers
	if section, ok := x.image.sections[".go.module"]; ok {
		add(section, 51*word)
	}
	if section, ok := x.image.sections[".go.buildinfo"]; ok {
		add(section, 256)
	}
	m := x.types.module
	add(m.header, 72)
	add(m.functions.address, m.functions.n*functabEntrySize)
	add(m.functionInfo.address, m.functionInfo.n)
	add(m.functionNames.address, m.functionNames.n)
	add(m.pcTables.address, m.pcTables.n)
	add(m.types, m.etypes-m.types)
	add(m.types+m.itabOffset, m.itabsLength)
	add(m.typelinks.address, m.typelinks.n*4)
	add(m.itablinks.address, m.itablinks.n*word)
	if f, err := x.Function("main.main"); err == nil {
		add(f.Address, f.Size)
	}
	if x.image.dynamic.size > 0 {
		add(x.image.dynamic.address, x.image.dynamic.size)
	}
	return ranges
}

// askEverything calls every method; what they answer about a broken file does
// not matter.
func askEverything(x *Executable) {
	x.Function("main.main")
	x.FunctionAt(x.functions.module.text)
	x.FunctionsWithPrefix("runtime.g")
	x.EntrySite("main.main")
	x.ReturnSites("main.main")
	x.CallSites("main.main", "runtime.printlock")
	x.AfterCallSites("main.main", "runtime.printlock")
	x.ClosureCalling("main.main.", "runtime.printlock")
	x.InlinedInto("runtime.add")
	x.InlinedSite("main.main", "runtime.add")
	x.StackDepth(x.functions.module.text)
	x.References("main.main")
	x.Line(x.functions.module.text)
	x.Frames(x.functions.module.text)
	x.FieldOffset("runtime.g", "stack.hi")
	x.FieldOffset("example.com/absent.Type", "field")
	x.Itab("*runtime.TypeAssertionError", "error")
	x.Itabs("error")
}

// tiny builds a small executable with the toolchain.
func tiny(t testing.TB, toolchain, arch string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":  "module example.com/tiny\n\ngo 1.18\n",
		"main.go": "package main\n\nfunc main() { println(\"tiny\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "tiny")
	cmd := exec.Command("go", append(append([]string{"build", "-ldflags=-s -w", "-o", path}, args...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOFLAGS=-mod=mod -buildvcs=false", "GOWORK=off", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// FuzzOpen breaks real executables: bytes are replaced in a part that matters,
// and the end may be cut off. Whatever is in the file, there is an answer or an
// error, soon and without much memory.
func FuzzOpen(f *testing.F) {
	bases := [][]byte{
		tiny(f, "go"+toolchains[0], "amd64"),
		tiny(f, "go"+toolchains[0], "amd64", "-buildmode=pie"),
		tiny(f, "go"+toolchains[1], "arm64"),
		tiny(f, "go"+toolchains[len(toolchains)-1], "amd64"),
	}
	var parts [][][2]int64
	for _, base := range bases {
		parts = append(parts, interesting(f, base))
	}
	ones := bytes.Repeat([]byte{0xff}, 8)
	for base := range bases {
		for part := range parts[base] {
			f.Add(uint8(base), uint8(part), uint32(0), ones, uint32(0))
			f.Add(uint8(base), uint8(part), uint32(16), make([]byte, 64), uint32(0))
		}
		f.Add(uint8(base), uint8(0), uint32(0), []byte(nil), uint32(1<<19))
	}
	f.Fuzz(func(t *testing.T, base, part uint8, at uint32, patch []byte, cut uint32) {
		content := bases[int(base)%len(bases)]
		within := parts[int(base)%len(bases)]
		place := within[int(part)%len(within)]
		size := int64(len(content)) - int64(cut)%int64(len(content))
		file := patched{content, patch, place[0] + int64(at)%max(place[1], 1), size}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		x, err := OpenReader(file, size)
		if err == nil {
			askEverything(x)
		}
		runtime.ReadMemStats(&after)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%v for a file of %d bytes", d, size)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%d bytes allocated for a file of %d", n, size)
		}
	})
}

// FuzzDecode: whatever the bytes, an instruction within them or an error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x55})
	f.Add([]byte{0x0f, 0x86, 1, 0, 0, 0})
	f.Add([]byte{0xc4, 0xe1, 0x78, 0x77})
	f.Add([]byte{0x62, 0xf1, 0x7c, 0x48, 0x10, 0})
	f.Add([]byte{0xc0, 0x03, 0x5f, 0xd6})
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, arch := range architectures {
			in, err := arch.decode(code, 0x401000)
			if err != nil {
				continue
			}
			if in.length == 0 || in.length > uint64(len(code)) {
				t.Errorf("%s: % x is an instruction of %d bytes", arch.name, code, in.length)
			}
			in.text(nil)
		}
	})
}
