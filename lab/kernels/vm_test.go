// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// bootKernel is the kernel that the tests boot: the one that boots fastest.
const bootKernel = "5.10"

// TestRun boots real kernels through the command line, as a person would.
func TestRun(t *testing.T) {
	if err := needTools(qemu("amd64")); err != nil {
		testenv.Skip(t, err.Error())
	}
	dir, err := defaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	rec, err := cache{dir}.load(bootKernel)
	if missing(err) {
		testenv.Skip(t, "kernel "+bootKernel+" is not cached (run: go run ./lab/kernels fetch "+bootKernel+")")
	}
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "guest")
	build := exec.Command("go", "build", "-o", binary, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's program: %v\n%s", err, text)
	}
	run := func(t *testing.T, args ...string) (code int, out, progressed string) {
		t.Helper()
		var output, steps bytes.Buffer
		code, err := command(context.Background(), append([]string{"run", "-kernel", bootKernel}, args...), &output, progress{w: &steps})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s%s", output.String(), steps.String())
		return code, output.String(), steps.String()
	}

	t.Run("the test gets its arguments, variables, files and mounts, and its exit code and output come back", func(t *testing.T) {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "file"), []byte("content\x00\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, steps := run(t, "-v", "-file", "/opt/data="+folder, "-env", "EXTRA=a b=c", binary, "report", "-x", "two\nlines", "")
		if code != 7 {
			t.Errorf("exit code %d, the test ended with 7", code)
		}
		line, rest, _ := strings.Cut(out, "\n")
		if rest != "no line feed at the end\n" {
			t.Errorf("output after the first line: %q", rest)
		}
		var got struct {
			Args                             []string
			Kernel, Extra, File, Mounts, Err string
			Mode                             uint32
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("the test's first line %q: %v", line, err)
		}
		if want := []string{"report", "-x", "two\nlines", ""}; strings.Join(got.Args, "|") != strings.Join(want, "|") {
			t.Errorf("arguments %q, want %q", got.Args, want)
		}
		if got.Kernel != bootKernel || got.Extra != "a b=c" {
			t.Errorf("TCPSLO_KERNEL=%q EXTRA=%q", got.Kernel, got.Extra)
		}
		if got.File != "content\x00\n" || got.Mode != 0o755 {
			t.Errorf("copied file: content %q, mode %o", got.File, got.Mode)
		}
		if got.Err != "" {
			t.Error(got.Err)
		}
		for _, mount := range []string{
			"/dev devtmpfs", "/proc proc", "/sys sysfs", "/sys/kernel/tracing tracefs", "/sys/fs/bpf bpf",
			"/sys/fs/cgroup cgroup2", "/sys/kernel/security securityfs", "/tmp tmpfs",
		} {
			if !strings.Contains(got.Mounts, " "+mount+" ") {
				t.Errorf("%q is not among the mounts:\n%s", mount, got.Mounts)
			}
		}
		// uname -r of the guest is compared with what the package's file is called.
		if want := bootKernel + "     " + rec.Release + "   failed (exit code 7)"; !strings.Contains(steps, want) {
			t.Errorf("the summary has no line %q:\n%s", want, steps)
		}
	})

	t.Run("a guest that panics is not a test that failed", func(t *testing.T) {
		code, out, steps := run(t, binary, "panic")
		if code != exitNoOutcome {
			t.Errorf("exit code %d, want %d", code, exitNoOutcome)
		}
		if want := "[" + bootKernel + "] about to crash the kernel\n"; out != want {
			t.Errorf("output %q, want what was printed before the panic, %q", out, want)
		}
		if !strings.Contains(steps, "guest panic") || !strings.Contains(steps, "sysrq triggered crash") {
			t.Errorf("neither the verdict nor the console's last lines tell of the panic:\n%s", steps)
		}
		if n := strings.Count(steps, "booting"); n != 1 {
			t.Errorf("booted %d times, want 1", n)
		}
	})

	t.Run("a process that the test leaves behind cannot spoil the outcome", func(t *testing.T) {
		code, out, _ := run(t, binary, "orphan")
		if code != 0 {
			t.Errorf("exit code %d, the test ended with 0", code)
		}
		if !strings.Contains(out, "chatter") {
			t.Error("the process left behind printed nothing, so nothing was tested")
		}
	})

	t.Run("a test killed by a signal gives 128 plus the signal", func(t *testing.T) {
		if code, _, _ := run(t, binary, "kill"); code != 128+9 {
			t.Errorf("exit code %d, want 137", code)
		}
	})

	t.Run("a machine that takes too long is ended and reported as a timeout", func(t *testing.T) {
		code, _, steps := run(t, "-timeout", "1s", binary, "report")
		if code != exitNoOutcome || !strings.Contains(steps, "timeout") {
			t.Errorf("exit code %d:\n%s", code, steps)
		}
	})

	t.Run("a machine that QEMU refuses is reported with what QEMU says", func(t *testing.T) {
		code, _, steps := run(t, "-accel", "steam", binary, "report")
		if code != exitNoOutcome || !strings.Contains(steps, "not started") || !strings.Contains(steps, "steam") {
			t.Errorf("exit code %d:\n%s", code, steps)
		}
	})
}
