// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

const (
	serveHTTP = "net/http.serverHandler.ServeHTTP"
	connServe = "net/http.(*conn).serve"
)

// probed is the functions that the exporter puts probes on, with the releases
// that have them.
var probed = []struct {
	function     string
	since, until int
}{
	{serveHTTP, 0, 0},
	{connServe, 0, 0},
	{"net/http.(*conn).serve.func1", 0, 0},
	{"net/http.(*conn).readRequest", 0, 0},
	{"net/http.(*http2responseWriter).handlerDone", 0, 26},
	{"net/http/internal/http2.(*responseWriter).handlerDone", 27, 0},
	{"golang.org/x/net/http2.(*responseWriter).handlerDone", 0, 0},
	{"crypto/tls.(*Conn).serverHandshake", 0, 0},
	{"runtime.gopanic", 0, 0},
	{"database/sql.(*DB).QueryContext", 99, 0}, // not linked
}

// TestSites_stand_where_another_disassembler_sees_them compares with objdump on
// amd64, and with the fixed encodings of the Arm manual on arm64, for which the
// machine's objdump may not be built.
func TestSites_stand_where_another_disassembler_sees_them(t *testing.T) {
	for _, b := range matrix() {
		t.Run(b.String(), func(t *testing.T) {
			path := compile(t, b, true)
			x := open(t, path)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range probed {
				if p.since > b.minor() || p.until != 0 && p.until < b.minor() {
					if _, err := x.EntrySite(p.function); !errors.Is(err, ErrNoFunction) {
						t.Errorf("%q is not in this release: %v", p.function, err)
					}
					continue
				}
				f, err := x.Function(p.function)
				if err != nil {
					t.Error(err)
					continue
				}
				lines := otherDisassembly(t, path, b.arch, x, f)
				checkEntrySite(t, x, b, f, lines, content)
				checkReturnSites(t, x, b, f, lines)
			}
			checkAfterCallSite(t, x, b, path)
			checkSitesAroundInlined(t, x)
			checkBesideInlined(t, x, b)
		})
	}
}

// line is an instruction as another disassembler sees it.
type line struct {
	address uint64
	code    []byte
	text    string // "" on arm64
}

var objdumpLine = regexp.MustCompile(`(?m)^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*(.*)$`)

func otherDisassembly(t *testing.T, path, arch string, x *Executable, f Function) []line {
	t.Helper()
	var lines []line
	if arch == "arm64" {
		code, err := x.code(f)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(code); at += 4 {
			lines = append(lines, line{f.Address + uint64(at), code[at : at+4], ""})
		}
		return lines
	}
	objdump := testenv.Need(t, "objdump", "binutils")
	out, err := exec.Command(objdump, "-d", "-w", fmt.Sprintf("--start-address=%#x", f.Address), fmt.Sprintf("--stop-address=%#x", f.Address+f.Size), path).Output()
	if err != nil {
		t.Fatalf("objdump: %v", err)
	}
	for _, match := range objdumpLine.FindAllStringSubmatch(string(out), -1) {
		address, err := strconv.ParseUint(match[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		var code []byte
		for _, hex := range strings.Fields(match[2]) {
			b, err := strconv.ParseUint(hex, 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			code = append(code, byte(b))
		}
		lines = append(lines, line{address, code, match[3]})
	}
	if len(lines) == 0 {
		t.Fatalf("objdump sees nothing in %q:\n%s", f.Name, out)
	}
	return lines
}

// writesArgument matches, in objdump's syntax, an instruction whose last operand,
// the destination, is a register that holds an argument, the closure or g.
var writesArgument = regexp.MustCompile(`,%(r[abcd]x|e[abcd]x|[abcd][xlh]|r[sd]i|e[sd]i|[sd]il?|r8|r9|r10|r11|r14|xmm\d+)[dwb]?$`)

func checkEntrySite(t *testing.T, x *Executable, b build, f Function, lines []line, content []byte) {
	t.Helper()
	site, err := x.EntrySite(f.Name)
	if err != nil {
		t.Error(err)
		return
	}
	i := slices.IndexFunc(lines, func(l line) bool { return l.address == site.Address })
	if i < 0 {
		t.Errorf("entry of %q at %#x is within an instruction", f.Name, site.Address)
		return
	}
	if !site.Emulated {
		t.Errorf("entry of %q on %q, which is not emulated", f.Name, site.Instruction)
	}
	code := lines[i].code
	if !slices.Equal(content[site.Offset:][:len(code)], code) {
		t.Errorf("entry of %q at file offset %#x, where the file does not have it", f.Name, site.Offset)
	}
	if b.arch == "arm64" {
		if w := binary.LittleEndian.Uint32(code); w&0xff00001f != 0x54000009 { // B.LS
			t.Errorf("entry of %q on %#08x, %q", f.Name, w, site.Instruction)
		}
		return
	}
	push := slices.Equal(code, []byte{0x55}) // push %rbp
	jbe := code[0] == 0x76 || code[0] == 0x0f && code[1] == 0x86
	if b.minor() >= 21 && !push || b.minor() < 21 && !jbe {
		t.Errorf("entry of %q on % x, %q", f.Name, code, site.Instruction)
	}
	for _, l := range lines[:i] {
		if !strings.HasPrefix(l.text, "cmp") && writesArgument.MatchString(strings.TrimSpace(l.text)) {
			t.Errorf("%q at %#x comes before the entry of %q", l.text, l.address, f.Name)
		}
	}
}

func checkReturnSites(t *testing.T, x *Executable, b build, f Function, lines []line) {
	t.Helper()
	var want []uint64
	for _, l := range lines {
		if strings.HasPrefix(l.text, "ret") || b.arch == "arm64" && binary.LittleEndian.Uint32(l.code) == 0xd65f03c0 {
			want = append(want, l.address)
		}
	}
	sites, err := x.ReturnSites(f.Name)
	if len(want) == 0 { // runtime.gopanic
		if !errors.Is(err, ErrNoSite) {
			t.Errorf("%q has no return instruction: %v", f.Name, err)
		}
		return
	}
	if err != nil {
		t.Error(err)
	}
	var got []uint64
	for _, s := range sites {
		got = append(got, s.Address)
		if s.Emulated != (b.arch == "arm64") {
			t.Errorf("return of %q on %q is emulated: %v", f.Name, s.Instruction, s.Emulated)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q returns at %#x, want %#x", f.Name, got, want)
	}
}

func checkAfterCallSite(t *testing.T, x *Executable, b build, path string) {
	t.Helper()
	if b.mode == "pgo" {
		inlined, err := x.InlinedInto(serveHTTP)
		if err != nil {
			t.Error(err)
		}
		if slices.Contains(inlined, connServe) { // it depends on the profile
			if sites, err := x.AfterCallSites(connServe, serveHTTP); !errors.Is(err, ErrNoSite) {
				t.Errorf("after the call of ServeHTTP, which is inlined: %+v: %v", sites, err)
			}
			return
		}
	}
	sites, err := x.AfterCallSites(connServe, serveHTTP)
	if err != nil {
		t.Error(err)
		return
	}
	if len(sites) != 1 || !sites[0].Emulated {
		t.Fatalf("after the call of ServeHTTP: %+v", sites)
	}
	f, err := x.Function(connServe)
	if err != nil {
		t.Fatal(err)
	}
	callee, err := x.Function(serveHTTP)
	if err != nil {
		t.Fatal(err)
	}
	lines := otherDisassembly(t, path, b.arch, x, f)
	call := slices.IndexFunc(lines, func(l line) bool { return calls(l, callee.Address) })
	if call < 0 {
		t.Fatalf("no call of %#x in %q", callee.Address, connServe)
	}
	for _, l := range lines[call+1:] {
		if l.address == sites[0].Address {
			return
		}
		if strings.HasPrefix(l.text, "j") || strings.HasPrefix(l.text, "ret") || strings.HasPrefix(l.text, "push") || b.arch == "amd64" && l.code[0] == 0xe8 {
			t.Errorf("%q at %#x comes before the site after the call, %q at %#x", l.text, l.address, sites[0].Instruction, sites[0].Address)
			return
		}
	}
	t.Errorf("the site after the call, %#x, is not after it", sites[0].Address)
}

// checkBesideInlined: only a profile puts netpollready into who calls it, and each event is
// seen by a probe on it, or by one right before.
func checkBesideInlined(t *testing.T, x *Executable, b build) {
	t.Helper()
	const ready, before = "runtime.netpollready", "runtime.(*pollDesc).setEventErr"
	inlined, err := x.InlinedInto(ready)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := x.EntrySite(ready)
	if len(inlined) == 0 && (err != nil || b.arch == "amd64" && !entry.Emulated) {
		t.Errorf("entry of %q: %+v: %v", ready, entry, err)
	}
	if len(inlined) > 0 && b.mode != "pgo" {
		t.Errorf("%q is inlined into %q", ready, inlined)
	}
	sites, err := x.CallSitesBesideInlined(ready, before)
	var got []string
	for _, site := range sites {
		if !site.Emulated {
			t.Errorf("a call at %#x is not emulated", site.Address)
		}
		got = append(got, site.Function)
	}
	if err == nil && !slices.Equal(slices.Compact(got), inlined) {
		t.Errorf("sites are in %q, want %q", got, inlined)
	}
	if err != nil && !errors.Is(err, ErrNoSite) && !errors.Is(err, ErrNoFunction) { // it depends on the profile
		t.Error(err)
	}
}

// checkSitesAroundInlined: the functions that are called just before and just
// after an inlined ServeHTTP have a defer statement, so they are never inlined.
func checkSitesAroundInlined(t *testing.T, x *Executable) {
	t.Helper()
	before, err := x.AfterCallSites(connServe, "net/http.(*conn).readRequest")
	if err != nil || len(before) != 1 || !before[0].Emulated {
		t.Errorf("after the call of readRequest: %+v: %v", before, err)
	}
	after, err := x.AfterCallSites(connServe, "net/http.(*conn).hijacked")
	if err != nil || len(after) != 1 || !after[0].Emulated {
		t.Errorf("after the call of hijacked: %+v: %v", after, err)
	}
}

// calls is true for a direct call of target.
func calls(l line, target uint64) bool {
	if l.text != "" {
		return l.code[0] == 0xe8 && l.address+5+uint64(int64(int32(binary.LittleEndian.Uint32(l.code[1:])))) == target
	}
	w := binary.LittleEndian.Uint32(l.code)
	return w>>26 == 0x25 && l.address+uint64(int64(int32(w<<6)>>4)) == target
}

func TestClosureCalling_finds_the_deferred_closure_that_recovers(t *testing.T) {
	for _, b := range matrix() {
		t.Run(b.String(), func(t *testing.T) {
			x := open(t, compile(t, b, true))
			prefix := "net/http.(*http2serverConn).runHandler."
			callee := "net/http.(*http2serverConn).writeFrameFromHandler"
			if b.minor() >= 27 {
				prefix = "net/http/internal/http2.(*serverConn).runHandler."
				callee = "net/http/internal/http2.(*serverConn).writeFrameFromHandler"
			}
			f, err := x.ClosureCalling(prefix, callee)
			// Go 1.20 and 1.21 have a func2 too, for "defer sc.sendServeMsg(…)".
			want := prefix + "func1"
			if err != nil || f.Name != want {
				t.Errorf("found %q, want %q: %v", f.Name, want, err)
			}
			if f, err := x.ClosureCalling(prefix, serveHTTP); !errors.Is(err, ErrNoFunction) {
				t.Errorf("no closure of %q calls %q, but found %q: %v", prefix, serveHTTP, f.Name, err)
			}
		})
	}
}

// TestLastClosureCalling_finds_the_last_deferred_unlock_of_a_handshake looks up
// in the source of the release what the closure was made of.
func TestLastClosureCalling_finds_the_last_deferred_unlock_of_a_handshake(t *testing.T) {
	const prefix = "crypto/tls.(*Conn).handshakeContext."
	for _, b := range matrix() {
		t.Run(b.String(), func(t *testing.T) {
			path := compile(t, b, false)
			x := open(t, path)
			var found []Function
			for _, callee := range []string{"internal/sync.(*Mutex).unlockSlow", "sync.(*Mutex).unlockSlow", "sync.(*Mutex).Unlock"} {
				if f, err := x.LastClosureCalling(prefix, callee); err == nil {
					found = append(found, f)
				} else if !errors.Is(err, ErrNoFunction) {
					t.Error(err)
				}
				if f, err := x.ClosureCalling(prefix, callee); !errors.Is(err, ErrNoFunction) {
					t.Errorf("two closures unlock, but %q is the one that calls %q: %v", f.Name, callee, err)
				}
			}
			if len(found) != 1 {
				t.Fatalf("found %v, want one", found)
			}
			if text := sourceLine(t, b, path, found[0].Address); text != "defer c.in.Unlock()" {
				t.Errorf("%q is of the line %q", found[0].Name, text)
			}
			for _, function := range []string{"crypto/tls.(*Conn).serverHandshake", found[0].Name} {
				if site, err := x.EntrySite(function); err != nil || !site.Emulated {
					t.Errorf("%q at the entry of %q is not emulated: %v", site.Instruction, function, err)
				}
			}
		})
	}
}

// sourceLine is the line of the standard library that an address comes from, by
// the line table of the executable's DWARF.
func sourceLine(t *testing.T, b build, path string, address uint64) string {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	unit, err := data.Reader().SeekPC(address)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := data.LineReader(unit)
	if err != nil {
		t.Fatal(err)
	}
	var line dwarf.LineEntry
	for line.Address != address || line.EndSequence { // (*LineReader).SeekPC gives up where functions are not in order
		if err := lines.Next(&line); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", "env", "GOROOT")
	command.Env = append(os.Environ(), "GOTOOLCHAIN=go"+b.toolchain)
	root, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, name, _ := strings.Cut(line.File.Name, "/src/")
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.Split(string(source), "\n")[line.Line-1])
}

func TestAfterCallSites_refuses_a_call_that_is_not_there(t *testing.T) {
	x := open(t, compile(t, build{toolchains[0], "amd64", "plain"}, true))
	_, err := x.AfterCallSites("net/http.(*conn).readRequest", serveHTTP)
	if !errors.Is(err, ErrNoSite) {
		t.Errorf("got %v", err)
	}
}

// TestEvery_function_decodes_as_objdump_sees_it looks at all that the compiler
// and the assembler made, AVX included.
func TestEvery_function_decodes_as_objdump_sees_it(t *testing.T) {
	objdump := testenv.Need(t, "objdump", "binutils")
	path := compile(t, build{toolchains[0], "amd64", "plain"}, true)
	x := open(t, path)
	out, err := exec.Command(objdump, "-d", "-w", "-j", ".text", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[uint64]string{}
	for _, match := range objdumpLine.FindAllStringSubmatch(string(out), -1) {
		address, err := strconv.ParseUint(match[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		texts[address] = strings.TrimSpace(match[3])
	}
	names := x.FunctionsWithPrefix("")
	var refused []string
	emulated := 0
	for _, name := range names {
		f, instructions, err := x.disassemble(name)
		if err != nil {
			refused = append(refused, name)
			continue
		}
		for _, in := range instructions {
			text, boundary := texts[in.address]
			if !boundary || strings.HasPrefix(text, "ret") != (in.flow == flowReturn) {
				t.Errorf("%q at %#x in %q is %q to objdump", in.text(nil), in.address, f.Name, text)
				break
			}
		}
		site := entry(instructions)
		if site.emulated {
			emulated++
		}
		for _, in := range instructions {
			if in.address >= site.address {
				break
			}
			text := texts[in.address]
			if !strings.HasPrefix(text, "cmp") && !strings.HasPrefix(text, "test") && writesArgument.MatchString(text) ||
				strings.HasPrefix(text, "call") || strings.HasPrefix(text, "jmp") {
				t.Errorf("%q at %#x comes before the entry of %q at %#x", text, in.address, name, site.address)
			}
		}
	}
	if len(refused) > 10 {
		t.Errorf("%d functions can't be decoded: %q", len(refused), refused)
	}
	// The others are leaves without a frame, which begin with anything.
	if len(names) < 5000 || emulated < len(names)*7/10 {
		t.Errorf("%d of %d functions have an emulated entry", emulated, len(names))
	}
	t.Logf("%d functions, %d with an emulated entry, refused %q", len(names), emulated, refused)
}

// TestEmulated_instructions_are_those_of_the_kernel has the cases of
// branch_setup_xol_ops and push_setup_xol_ops in arch/x86/kernel/uprobes.c and of
// arm_probe_decode_insn in arch/arm64/kernel/probes/decode-insn.c, Linux 5.10.
func TestEmulated_instructions_are_those_of_the_kernel(t *testing.T) {
	for _, test := range []struct {
		arch, what string
		code       []byte
		emulated   bool
	}{
		{"amd64", "nop", []byte{0x90}, true},
		{"amd64", "push rbp", []byte{0x55}, true},
		{"amd64", "push r12", []byte{0x41, 0x54}, true},
		{"amd64", "push with a size prefix", []byte{0x66, 0x55}, false},
		{"amd64", "push immediate", []byte{0x6a, 0x01}, false},
		{"amd64", "push memory", []byte{0xff, 0x30}, false},
		{"amd64", "call rel32", []byte{0xe8, 1, 0, 0, 0}, true},
		{"amd64", "call with a size prefix", []byte{0x66, 0xe8, 1, 0, 0, 0}, false},
		{"amd64", "call register", []byte{0xff, 0xd0}, false},
		{"amd64", "jmp rel8", []byte{0xeb, 1}, true},
		{"amd64", "jmp rel32", []byte{0xe9, 1, 0, 0, 0}, true},
		{"amd64", "jmp register", []byte{0xff, 0xe0}, false},
		{"amd64", "jbe rel8", []byte{0x76, 1}, true},
		{"amd64", "jbe rel32", []byte{0x0f, 0x86, 1, 0, 0, 0}, true},
		{"amd64", "setbe al", []byte{0x0f, 0x96, 0xc0}, false},
		{"amd64", "jrcxz", []byte{0xe3, 1}, false},
		{"amd64", "ret", []byte{0xc3}, false},
		{"amd64", "cmp rsp,[r14+16]", []byte{0x49, 0x3b, 0x66, 0x10}, false},
		{"amd64", "pop rbp", []byte{0x5d}, false},
		{"amd64", "long nop", []byte{0x0f, 0x1f, 0x44, 0, 0}, false},
		{"amd64", "vzeroupper", []byte{0xc5, 0xf8, 0x77}, false},
		{"arm64", "b", []byte{0x01, 0, 0, 0x14}, true},
		{"arm64", "bl", []byte{0x01, 0, 0, 0x94}, true},
		{"arm64", "b.ls", []byte{0x29, 0, 0, 0x54}, true},
		{"arm64", "cbz x0", []byte{0x20, 0, 0, 0xb4}, true},
		{"arm64", "tbnz w0", []byte{0x20, 0, 0, 0x37}, true},
		{"arm64", "ret", []byte{0xc0, 0x03, 0x5f, 0xd6}, true},
		{"arm64", "blr x5", []byte{0xa0, 0, 0x3f, 0xd6}, true},
		{"arm64", "adrp x0", []byte{0, 0, 0, 0x90}, true},
		{"arm64", "nop", []byte{0x1f, 0x20, 0x03, 0xd5}, false}, // only since Linux 6.13
		{"arm64", "ldr x16,[x28,#16]", []byte{0x90, 0x0b, 0x40, 0xf9}, false},
		{"arm64", "str x30,[sp,#-32]!", []byte{0xfe, 0x0f, 0x1e, 0xf8}, false},
	} {
		decode := decodeAMD64
		if test.arch == "arm64" {
			decode = decodeARM64
		}
		in, err := decode(test.code, 0x1000)
		if err != nil || in.length != uint64(len(test.code)) || in.emulated != test.emulated {
			t.Errorf("%s %s: %d bytes, emulated %v: %v", test.arch, test.what, in.length, in.emulated, err)
		}
	}
}
