// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// toolchains is one of each Go release that is supported, newest first. The
// module proxy serves them.
var toolchains = []string{
	"1.27.4", "1.26.11", "1.25.14", "1.24.13", "1.23.12", "1.22.12", "1.21.13", "1.20.14", "1.19.13", "1.18.10",
}

// build is a way to build testdata/server.
type build struct {
	toolchain string // "1.26.11"
	arch      string // GOARCH
	mode      string // a key of modes
}

func (b build) String() string { return fmt.Sprintf("go%s_%s_%s", b.toolchain, b.arch, b.mode) }

// minor is 26 for Go 1.26.11.
func (b build) minor() (minor int) {
	fmt.Sscanf(b.toolchain, "1.%d", &minor)
	return minor
}

// modes is the arguments of go build that make the executables which differ in
// what this package reads.
var modes = map[string][]string{
	"plain":        nil,
	"pie":          {"-buildmode=pie"},
	"pgo":          {"-pgo=PROFILE"},
	"external":     {"-ldflags=-linkmode=external"},
	"external_pie": {"-buildmode=pie", "-ldflags=-linkmode=external"},
}

// matrix is every build that the tests look at: all modes of the newest two
// releases and the plain one for amd64 of each older; with TCPSLO_MATRIX=full all modes of
// all. An external linker is there only for the machine's own architecture, and
// profile-guided builds began with Go 1.21.
func matrix() []build {
	full := os.Getenv("TCPSLO_MATRIX") == "full"
	var all []build
	for i, toolchain := range toolchains {
		for _, arch := range []string{"amd64", "arm64"} {
			for _, mode := range []string{"plain", "pie", "pgo", "external", "external_pie"} {
				b := build{toolchain, arch, mode}
				switch {
				case !full && i >= 2 && (mode != "plain" || arch != "amd64"):
				case arch == "arm64" && mode != "plain" && mode != "pie":
				case mode == "pgo" && b.minor() < 21:
				default:
					all = append(all, b)
				}
			}
		}
	}
	return all
}

// executables is a directory for what the tests build, once for all of them.
var executables string

func TestMain(m *testing.M) {
	var err error
	if executables, err = os.MkdirTemp("", "goexe"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(executables)
	os.Exit(code)
}

var (
	compileMutex sync.Mutex
	compiled     = map[string]error{}
)

// compile builds testdata/server, stripped or with symbols and DWARF, and gives
// the path of the executable.
func compile(t testing.TB, b build, stripped bool) string {
	t.Helper()
	if strings.HasPrefix(b.mode, "external") {
		testenv.Need(t, "gcc", "gcc")
	}
	args := append([]string{}, modes[b.mode]...)
	for i, arg := range args {
		if strings.Contains(arg, "PROFILE") {
			args[i] = strings.Replace(arg, "PROFILE", profile(t), 1)
		}
	}
	name := b.String()
	if stripped {
		name += "_stripped"
		if last := len(args) - 1; last >= 0 && strings.HasPrefix(args[last], "-ldflags=") {
			args[last] += " -s -w"
		} else {
			args = append(args, "-ldflags=-s -w")
		}
	}
	return goBuild(t, name, b.toolchain, b.arch, args...)
}

// goBuild builds testdata/server as executables/name, unless that has been done.
func goBuild(t testing.TB, name, toolchain, arch string, args ...string) string {
	t.Helper()
	compileMutex.Lock()
	defer compileMutex.Unlock()
	path := filepath.Join(executables, name)
	err, done := compiled[name]
	if !done {
		err = runGoBuild(t, path, toolchain, arch, args)
		compiled[name] = err
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func runGoBuild(t testing.TB, path, toolchain, arch string, args []string) error {
	dir := sources(t, toolchain)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, args...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=go"+toolchain, "GOARCH="+arch, "GOFLAGS=-mod=mod -buildvcs=false", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

var goLine = regexp.MustCompile(`(?m)^go .*$`)

// sources copies testdata/server, with a go.mod that asks for the language of
// the toolchain, as those who use that toolchain have.
func sources(t testing.TB, toolchain string) string {
	version := exec.Command("go", "version")
	version.Env = append(os.Environ(), "GOTOOLCHAIN=go"+toolchain)
	if out, err := version.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("go"+toolchain)) {
		testenv.Skip(t, fmt.Sprintf("needs the toolchain of Go %s: %v\n%s", toolchain, err, out))
	}
	dir := t.TempDir()
	files, err := filepath.Glob("testdata/server/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/server: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "go.mod" {
			language := toolchain[:strings.LastIndexByte(toolchain, '.')]
			content = goLine.ReplaceAll(content, []byte("go "+language))
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var (
	profileOnce sync.Once
	profilePath string
)

// profile is the path of a CPU profile that the server takes of itself.
func profile(t testing.TB) string {
	t.Helper()
	server := compile(t, build{toolchains[0], "amd64", "plain"}, false)
	profileOnce.Do(func() {
		path := filepath.Join(executables, "cpu.pprof")
		if out, err := exec.Command(server, "profile", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", server, err, out)
			return
		}
		profilePath = path
	})
	if profilePath == "" {
		t.Fatal("no CPU profile")
	}
	return profilePath
}

// open opens an executable for the length of a test.
func open(t testing.TB, path string) *Executable {
	t.Helper()
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}
