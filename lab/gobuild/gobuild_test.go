// SPDX-License-Identifier: Apache-2.0

package gobuild_test

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/gobuild"
)

// hello is a program that says which Go built it; package net brings cgo in.
const hello = `package main

import (
	"fmt"
	_ "net"
	"runtime"
)

func main() { fmt.Println(runtime.Version()) }
`

func TestEach_mode_leaves_its_mark_in_the_executable(t *testing.T) {
	for _, c := range []struct {
		mode                         gobuild.Mode
		symbols, pie, linkedByC, pgo bool
	}{
		{mode: gobuild.Plain, symbols: true},
		{mode: gobuild.Stripped},
		{mode: gobuild.PIE, symbols: true, pie: true},
		{mode: gobuild.PGO, symbols: true, pgo: true},
		{mode: gobuild.External, symbols: true, linkedByC: true},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			binary := build(t, gobuild.Spec{Package: "../server", Mode: c.mode})
			file := open(t, binary)
			if got := file.Section(".symtab") != nil; got != c.symbols {
				t.Errorf("symbol table: %t, want %t", got, c.symbols)
			}
			if got := file.Section(".debug_info") != nil || file.Section(".zdebug_info") != nil; got != c.symbols {
				t.Errorf("DWARF: %t, want %t", got, c.symbols)
			}
			if got := file.Type == elf.ET_DYN; got != c.pie && !c.linkedByC { // gcc may make PIE of it
				t.Errorf("position independent: %t, want %t", got, c.pie)
			}
			// The C compiler signs what it links; Go's linker does not.
			if got := file.Section(".comment") != nil; got != c.linkedByC {
				t.Errorf("linked by the C compiler: %t, want %t", got, c.linkedByC)
			}
			if got := setting(t, binary, "-pgo") != ""; got != c.pgo {
				t.Errorf("built with a profile: %t, want %t", got, c.pgo)
			}
		})
	}
}

func TestA_profile_changes_the_code_of_net_http(t *testing.T) {
	// What is inlined where depends on where the samples fell. That some of the functions
	// that serve a request grow or vanish does not: it takes a profile of real requests.
	plain := functionSizes(t, build(t, gobuild.Spec{Package: "../server", Mode: gobuild.Plain}))
	guided := functionSizes(t, build(t, gobuild.Spec{Package: "../server", Mode: gobuild.PGO}))
	var changed []string
	for name, size := range plain {
		if guided[name] != size {
			changed = append(changed, name)
		}
	}
	if len(plain) < 500 || len(changed) < 5 {
		t.Errorf("%d of %d functions of net/http changed, want at least 5 of 500: %q", len(changed), len(plain), changed)
	}
}

// functionSizes returns the bytes of machine code of each function of net/http.
func functionSizes(t *testing.T, binary string) map[string]uint64 {
	t.Helper()
	symbols, err := open(t, binary).Symbols()
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]uint64{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && strings.HasPrefix(s.Name, "net/http.") {
			sizes[s.Name] = s.Size
		}
	}
	return sizes
}

func TestThe_toolchain_asked_for_built_the_executable(t *testing.T) {
	dir := program(t, hello)
	for _, toolchain := range []string{gobuild.Go118, gobuild.Go121, gobuild.Go127} {
		binary := build(t, gobuild.Spec{Package: dir, Toolchain: toolchain})
		out, err := exec.Command(binary).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); got != toolchain {
			t.Errorf("the executable says %q, want %q", got, toolchain)
		}
	}
}

func TestThe_go_line_is_the_toolchains_own(t *testing.T) {
	// A loop variable of each iteration's own came with the go line 1.22, not with
	// a flag: the program behaves as its users' do.
	dir := program(t, `package main

func main() {
	var last func() int
	for i := 0; i < 3; i++ {
		if i == 1 {
			last = func() int { return i }
		}
	}
	println(last())
}
`)
	for toolchain, want := range map[string]string{gobuild.Go121: "3", gobuild.Go122: "1"} {
		out, err := exec.Command(build(t, gobuild.Spec{Package: dir, Toolchain: toolchain})).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s: the loop variable is %s, want %s", toolchain, got, want)
		}
	}
}

func TestAnother_architecture_is_cross_compiled(t *testing.T) {
	binary := build(t, gobuild.Spec{Package: program(t, hello), GOARCH: "arm64"})
	if got := open(t, binary).Machine; got != elf.EM_AARCH64 {
		t.Errorf("built for %s, want %s", got, elf.EM_AARCH64)
	}
}

func TestThe_same_source_is_built_once_and_a_change_is_built_again(t *testing.T) {
	dir := program(t, hello)
	spec := gobuild.Spec{Package: dir}
	first := build(t, spec)
	before := stat(t, first)

	if again := build(t, spec); again != first || !os.SameFile(before, stat(t, again)) {
		t.Error("the second build made another file")
	}
	spec.Mode = gobuild.Stripped
	if stripped := build(t, spec); stripped == first {
		t.Error("another mode got the same file")
	}
	spec.Mode = gobuild.Plain
	write(t, dir, "main_test.go", "package main\n")
	if tested := build(t, spec); tested != first {
		t.Error("a test file, which is not built, made a difference")
	}
	write(t, dir, "main.go", strings.Replace(hello, "runtime.Version()", `"changed", runtime.Version()`, 1))
	out, err := exec.Command(build(t, spec)).Output()
	if err != nil || !strings.HasPrefix(string(out), "changed ") {
		t.Errorf("the executable says %q (%v), want the changed source's word", out, err)
	}
}

func TestWhat_cannot_be_built_is_told_apart(t *testing.T) {
	dir := program(t, hello)
	otherArch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for _, c := range []struct {
		name string
		spec gobuild.Spec
		want error
	}{
		{"a toolchain that never was", gobuild.Spec{Package: dir, Toolchain: "go1.18.99"}, gobuild.ErrNoToolchain},
		{"a profile before Go 1.20", gobuild.Spec{Package: dir, Toolchain: gobuild.Go119, Mode: gobuild.PGO}, gobuild.ErrUnsupported},
		{"C linking for another machine", gobuild.Spec{Package: dir, Mode: gobuild.External, GOARCH: otherArch}, gobuild.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := gobuild.Build(t.Context(), c.spec); !errors.Is(err, c.want) {
				t.Errorf("got error %v, want %v", err, c.want)
			}
		})
	}
	t.Run("a program that does not compile", func(t *testing.T) {
		_, err := gobuild.Build(t.Context(), gobuild.Spec{Package: program(t, "package main\n\nfunc main() { nonsense() }\n")})
		if err == nil || !strings.Contains(err.Error(), "undefined: nonsense") {
			t.Errorf("got error %v, want the compiler's", err)
		}
	})
	t.Run("a build that is called off", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := gobuild.Build(ctx, gobuild.Spec{Package: dir}); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
}

func TestEvery_minor_version_from_18_on_has_one_toolchain(t *testing.T) {
	var minors []string
	for _, version := range gobuild.Versions() {
		minors = append(minors, strings.Split(version, ".")[1])
	}
	if want := []string{"18", "19", "20", "21", "22", "23", "24", "25", "26", "27"}; !slices.Equal(minors, want) {
		t.Errorf("versions are of %q, want %q", minors, want)
	}
}

func build(t *testing.T, spec gobuild.Spec) string {
	t.Helper()
	binary, err := gobuild.Build(t.Context(), spec)
	if errors.Is(err, gobuild.ErrNoToolchain) || errors.Is(err, gobuild.ErrNoCompiler) {
		testenv.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// program writes a main package of one file. Its directory is new each time, but
// its name and content are not, and neither is its place in the cache.
func program(t *testing.T, code string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "program")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "main.go", code)
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func open(t *testing.T, binary string) *elf.File {
	t.Helper()
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func setting(t *testing.T, binary, key string) string {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
