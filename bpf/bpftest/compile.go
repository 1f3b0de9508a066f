// SPDX-License-Identifier: Apache-2.0

// Package bpftest compiles small BPF programs for tests.
package bpftest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// Compile compiles C against bpf/include, the way generate.sh compiles the
// built-in probes, for the architecture that the test runs on. It skips the test
// if there is no clang.
func Compile(t testing.TB, source string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test.bpf.c")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return CompileFile(t, file)
}

// CompileFile compiles a file.
func CompileFile(t testing.TB, file string) []byte {
	t.Helper()
	clang := os.Getenv("CLANG")
	if clang == "" {
		clang = "clang-19"
	}
	if _, err := exec.LookPath(clang); err != nil {
		testenv.Skip(t, "needs "+clang+" and libbpf-dev")
	}
	arch, ok := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	if !ok {
		testenv.Skip(t, "needs amd64 or arm64")
	}
	object := filepath.Join(t.TempDir(), "test.bpf.o")
	include := filepath.Join(moduleRoot(t), "bpf", "include")
	command := exec.Command(clang, "-g", "-O2", "-Wall", "-Werror", "-mcpu=v2", "-target", "bpf", "-I"+include, "-D__TARGET_ARCH_"+arch, "-c", file, "-o", object)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command.Args, err, output)
	}
	compiled, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// moduleRoot is the nearest directory above the working directory with a go.mod.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		} else if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			t.Fatalf("find go.mod: %v", err)
		}
	}
}
