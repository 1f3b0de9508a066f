// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// summarize runs `go test -json` on packages that are written for the purpose.
func summarize(t *testing.T, packages map[string]string) (output string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module example\n\ngo 1.24\n"}
	for pkg, source := range packages {
		files[filepath.Join(pkg, "x_test.go")] = "package x\n" + source
	}
	for file, content := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	events, _ := cmd.Output() // it fails where a test does
	var out bytes.Buffer
	s := newSummary(&out)
	if err := s.read(bytes.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	ok = s.report()
	return out.String(), ok
}

const passing = `
import "testing"
func TestOne(t *testing.T) { t.Log("nobody needs this") }
func TestTwo(t *testing.T) { t.Run("a", func(t *testing.T) {}); t.Run("b", func(t *testing.T) {}) }
`

func wantLastLine(t *testing.T, output, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if got := lines[len(lines)-1]; got != want {
		t.Errorf("last line is %q, want %q; all of it:\n%s", got, want, output)
	}
}

func TestSummary(t *testing.T) {
	t.Run("counts subtests, not the tests around them", func(t *testing.T) {
		out, ok := summarize(t, map[string]string{"a": passing})
		wantLastLine(t, out, "3 passed, 0 failed, 0 skipped")
		if !ok || strings.Contains(out, "nobody needs this") || !strings.Contains(out, "example/a") {
			t.Errorf("ok is %v and the output is:\n%s", ok, out)
		}
	})
	t.Run("lists each skipped test with its reason", func(t *testing.T) {
		out, ok := summarize(t, map[string]string{"a": `
import "testing"
func TestSkipped(t *testing.T) { t.Skip("needs: a kernel with kprobes") }
`})
		wantLastLine(t, out, "0 passed, 0 failed, 1 skipped")
		if !ok || !strings.Contains(out, "example/a TestSkipped: needs: a kernel with kprobes\n") {
			t.Errorf("ok is %v and the output is:\n%s", ok, out)
		}
	})
	t.Run("shows what a failed test said and counts it once", func(t *testing.T) {
		out, ok := summarize(t, map[string]string{"a": passing, "b": `
import "testing"
func TestOuter(t *testing.T) { t.Run("inner", func(t *testing.T) { t.Error("got 3, want 4") }) }
`})
		wantLastLine(t, out, "3 passed, 1 failed, 0 skipped")
		if ok || !strings.Contains(out, "got 3, want 4") || !strings.Contains(out, "example/b TestOuter/inner\n") {
			t.Errorf("ok is %v and the output is:\n%s", ok, out)
		}
	})
	t.Run("counts a test that fails after its subtests passed", func(t *testing.T) {
		out, ok := summarize(t, map[string]string{"a": `
import "testing"
func TestOuter(t *testing.T) { t.Run("inner", func(t *testing.T) {}); t.Error("outer failed") }
`})
		wantLastLine(t, out, "1 passed, 1 failed, 0 skipped")
		if ok {
			t.Error("a failure passes as ok")
		}
	})
	t.Run("counts a package that does not compile and shows the compiler's message", func(t *testing.T) {
		out, ok := summarize(t, map[string]string{"a": passing, "b": "var x int = `text`\n"})
		wantLastLine(t, out, "3 passed, 1 failed, 0 skipped")
		if ok || !strings.Contains(out, "cannot use `text`") {
			t.Errorf("ok is %v and the output is:\n%s", ok, out)
		}
	})
	t.Run("counts a test that ends the process and shows its output", func(t *testing.T) {
		out, ok := summarize(t, map[string]string{"a": `
import ("fmt"; "os"; "testing")
func TestExits(t *testing.T) { fmt.Println("the last words"); os.Exit(3) }
`})
		if ok || !strings.Contains(out, "the last words") || !strings.Contains(out, " 1 failed") {
			t.Errorf("ok is %v and the output is:\n%s", ok, out)
		}
	})
}
