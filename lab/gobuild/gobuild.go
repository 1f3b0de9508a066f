// SPDX-License-Identifier: Apache-2.0

// Package gobuild builds a small Go program with a chosen toolchain in a chosen way,
// so that tests can look at the executables that people really run: old and new
// Go versions, stripped, position independent, profile guided, linked by C.
//
// Results are kept in the user's cache directory and found again by what went into
// them: source, toolchain and flags.
package gobuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// The newest release of each Go version that is tested, oldest first.
const (
	Go118 = "go1.18.10"
	Go119 = "go1.19.13"
	Go120 = "go1.20.14"
	Go121 = "go1.21.13"
	Go122 = "go1.22.12"
	Go123 = "go1.23.12"
	Go124 = "go1.24.13"
	Go125 = "go1.25.14"
	Go126 = "go1.26.11"
	Go127 = "go1.27.4"
)

// Versions returns the toolchains above, oldest first.
func Versions() []string {
	return []string{Go118, Go119, Go120, Go121, Go122, Go123, Go124, Go125, Go126, Go127}
}

// A Mode is a way of building that changes what an observer finds in the executable.
type Mode string

const (
	// Plain is `go build`: symbol table and DWARF are there.
	Plain Mode = "plain"
	// Stripped has neither (-ldflags="-s -w").
	Stripped Mode = "stripped"
	// PIE is position independent (-buildmode=pie), loaded at a random address.
	PIE Mode = "pie"
	// PGO is optimised with a CPU profile of the program itself, taken under load:
	// functions of net/http that serve requests are inlined, other ones with each
	// profile. The program must be lab/server or take its flags. Go 1.20 or newer.
	PGO Mode = "pgo"
	// External is linked by the C compiler, with cgo. Host architecture only.
	External Mode = "external"
)

// Modes returns all modes.
func Modes() []Mode { return []Mode{Plain, Stripped, PIE, PGO, External} }

// A Spec says what to build and how.
type Spec struct {
	// Package is the directory of a main package that imports only the standard
	// library and has no files in sub-directories.
	Package string
	// Toolchain is such as "go1.18.10"; "" is the go command of the host.
	Toolchain string
	// Mode is how; "" is Plain.
	Mode Mode
	// GOARCH is the target architecture; "" is the host's.
	GOARCH string
}

var (
	// ErrNoToolchain says that the toolchain is neither here nor to be downloaded.
	ErrNoToolchain = errors.New("toolchain not available")
	// ErrNoCompiler says that the C compiler that External needs is missing.
	ErrNoCompiler = errors.New("no C compiler")
	// ErrUnsupported says that the toolchain or target has no such mode.
	ErrUnsupported = errors.New("mode not supported")
)

// Build returns the path of the executable, named after the package's directory.
// It is made if the cache does not have it, which takes up to a minute or two the
// first time that a toolchain and mode are used. The file belongs to the cache: run
// it, read it, do not change it.
func Build(ctx context.Context, spec Spec) (string, error) {
	path, err := spec.build(ctx)
	if err != nil {
		return "", fmt.Errorf("building %q with toolchain %q, mode %q: %w", spec.Package, spec.Toolchain, spec.Mode, err)
	}
	return path, nil
}

func (s Spec) build(ctx context.Context) (string, error) {
	if s.Mode == "" {
		s.Mode = Plain
	}
	if s.GOARCH == "" {
		s.GOARCH = runtime.GOARCH
	}
	dir, err := filepath.Abs(s.Package)
	if err != nil {
		return "", err
	}
	s.Package = dir
	version, err := s.version(ctx)
	if err != nil {
		return "", err
	}
	flags, err := s.flags(version)
	if err != nil {
		return "", err
	}
	source, err := readSource(dir)
	if err != nil {
		return "", err
	}
	// The dot in the module's path keeps toolchains before go1.21 from looking for it in
	// the standard library (golang/go#61873).
	source["go.mod"] = fmt.Appendf(nil, "module lab.test/%s\n\ngo %s\n", filepath.Base(dir), language(version))
	entry, err := openEntry(source, version, s.GOARCH, flags)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(entry, filepath.Base(dir))
	if hit(binary) {
		return binary, nil
	}
	return binary, s.compile(ctx, flags, source, binary)
}

// compile builds the source in a directory of its own and moves the result into the
// cache in one step, so that nobody finds half an executable there.
func (s Spec) compile(ctx context.Context, flags []string, source source, binary string) error {
	module, err := os.MkdirTemp("", "gobuild-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(module)
	if s.Mode == PGO {
		profile, err := s.profile(ctx)
		if err != nil {
			return fmt.Errorf("profiling: %w", err)
		}
		source[profileName] = profile
	}
	for name, content := range source {
		if err := os.WriteFile(filepath.Join(module, name), content, 0o644); err != nil {
			return err
		}
	}
	const output = "gobuild.out"
	args := append([]string{"build", "-o", output}, flags...)
	if _, err := s.goCommand(ctx, module, args...); err != nil {
		return err
	}
	return keep(filepath.Join(module, output), binary)
}

// flags are those of the mode. With -trimpath the compiler's own cache serves every
// temporary directory alike.
func (s Spec) flags(version string) ([]string, error) {
	flags := []string{"-trimpath", "-buildvcs=false"}
	switch s.Mode {
	case Plain:
	case Stripped:
		flags = append(flags, "-ldflags=-s -w")
	case PIE:
		flags = append(flags, "-buildmode=pie")
	case PGO:
		if minor(version) < 20 {
			return nil, fmt.Errorf("%w: profile-guided builds came with go1.20", ErrUnsupported)
		}
		flags = append(flags, "-pgo="+profileName)
	case External:
		if s.GOARCH != runtime.GOARCH {
			return nil, fmt.Errorf("%w: external linking for %s on %s", ErrUnsupported, s.GOARCH, runtime.GOARCH)
		}
		if _, err := exec.LookPath("gcc"); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoCompiler, err)
		}
		flags = append(flags, "-ldflags=-linkmode=external")
	default:
		return nil, fmt.Errorf("unknown mode %q, want one of %q", s.Mode, Modes())
	}
	return flags, nil
}

// version returns the full version of the toolchain, such as "go1.26.8".
func (s Spec) version(ctx context.Context) (string, error) {
	if s.Toolchain != "" {
		return s.Toolchain, nil
	}
	out, err := s.goCommand(ctx, "", "env", "GOVERSION")
	return strings.TrimSpace(out), err
}

// goCommand runs the go command of the wanted toolchain. The caller's own Go settings
// that would change the build are overridden.
func (s Spec) goCommand(ctx context.Context, dir string, args ...string) (stdout string, err error) {
	toolchain := "local"
	if s.Toolchain != "" {
		toolchain = s.Toolchain
	}
	cgo := "0"
	if s.Mode == External {
		cgo = "1"
	}
	env := append(os.Environ(),
		"GOTOOLCHAIN="+toolchain, "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOOS=linux",
		"GOARCH="+s.GOARCH, "CGO_ENABLED="+cgo)
	if s.Toolchain != "" {
		// Asked by itself first, so that a toolchain that cannot be had is told
		// apart from a program that does not compile.
		if _, err := run(ctx, dir, env, "go", "version"); err != nil {
			return "", fmt.Errorf("%w: %w", ErrNoToolchain, err)
		}
	}
	return run(ctx, dir, env, "go", args...)
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// language is the version for go.mod's go line: "go1.18.10" gives "1.18". Older
// than the toolchain's it would switch on compatibility settings (GODEBUG).
func language(version string) string { return "1." + strconv.Itoa(minor(version)) }

// minor returns 18 for "go1.18.10", and 0 for what is no released version.
func minor(version string) int {
	parts := strings.Split(strings.TrimPrefix(version, "go"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0
	}
	return n
}
