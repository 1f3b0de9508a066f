// SPDX-License-Identifier: Apache-2.0

// Package goexe tells what a Go executable is from its ELF file alone: the Go
// release, where functions begin and end, where a uprobe may stand in them, and
// at which offsets the fields of structs are.
//
// It needs neither DWARF nor a symbol table, so stripped, position-independent,
// profile-guided and externally linked executables serve as well as any. What it
// reads is what the Go runtime itself cannot live without:
//
//	runtime.firstmoduledata   where everything else is         moduledata.go
//	the pclntab               functions, for tracebacks        pclntab.go
//	inline trees              what was inlined, likewise       inline.go
//	type descriptors          fields, for reflection and GC    rtti.go
//	itabs                     which type is in an interface    itab.go
//	the machine code          where a probe may stand          sites.go
//
// Every address that the package takes or gives is a virtual address in the
// file: add the load bias for a running position-independent process. A
// Site.Offset is an offset in the file, which is what uprobes take.
//
// The executable is read piece by piece with ReadAt and little of it is kept
// (about a megabyte): it may be replaced or truncated at any time by a
// deployment, which gives an error here and would give SIGBUS with mmap.
package goexe

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Why an executable, or something in it, can't be used. All are wrapped with
// the detail; anything else that goes wrong (a truncated or corrupt file, an
// input error) has no sentinel.
var (
	ErrNotGo              = errors.New("not a Go executable")
	ErrUnsupportedVersion = errors.New("unsupported Go version")
	ErrUnsupportedArch    = errors.New("unsupported architecture")
	ErrNoFunction         = errors.New("no such function")
	ErrNoSite             = errors.New("no place for a probe")
	ErrNoType             = errors.New("no such type")
	ErrNoField            = errors.New("no such field")
	ErrNoItab             = errors.New("no such itab")
)

// oldestMinor is the first release whose arguments are in registers on both
// architectures (internal/buildcfg, regabi) and whose tables are relative to the
// start of the text (cmd/link, pclntab of Go 1.18).
const oldestMinor = 18

// Executable is an open Go executable. Its methods may not be called
// concurrently.
type Executable struct {
	file       io.Closer // nil if the caller owns the reader
	image      *image
	arch       *architecture
	goVersion  string
	mainModule string
	functions  *functionTable
	types      *typeTable
}

// Open reads the Go executable at path, which may be /proc/PID/exe. It fails
// with ErrNotGo, ErrUnsupportedVersion (before Go 1.18) or ErrUnsupportedArch
// (neither amd64 nor arm64), all wrapped; with another error if the file can't
// be read or contradicts itself.
func Open(path string) (*Executable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // names the operation and the path already
	}
	x, err := openFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	x.file = f
	return x, nil
}

func openFile(f *os.File) (*Executable, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrNotGo)
	}
	return OpenReader(f, info.Size())
}

// OpenReader is Open for the first size bytes of r. Close does not close r.
func OpenReader(r io.ReaderAt, size int64) (*Executable, error) {
	img, err := newImage(r, size)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotGo, err)
	}
	minor, err := minorVersion(info.GoVersion)
	if err != nil {
		return nil, err
	}
	if img.arch == nil {
		return nil, fmt.Errorf("%w: %s, need amd64 or arm64", ErrUnsupportedArch, img.machine)
	}
	module, err := findModuledata(img, minor)
	if err != nil {
		return nil, fmt.Errorf("moduledata of %s: %w", info.GoVersion, err)
	}
	return &Executable{
		image:      img,
		arch:       img.arch,
		goVersion:  info.GoVersion,
		mainModule: info.Main.Path,
		functions:  newFunctionTable(img, module, minor),
		types:      newTypeTable(img, module, minor),
	}, nil
}

// Close closes the file that Open opened. Nothing may be asked of x afterwards.
func (x *Executable) Close() error {
	if x.file == nil {
		return nil
	}
	return x.file.Close()
}

// GoVersion is the version of Go that built the executable as it says itself,
// for example "go1.26.8" or "go1.24.3 X:nocoverageredesign".
func (x *Executable) GoVersion() string { return x.goVersion }

// Arch is the architecture in Go's terms, "amd64" or "arm64".
func (x *Executable) Arch() string { return x.arch.name }

// MainModule is the path of the main module, for example
// "github.com/prometheus/prometheus"; "" if it was built without one.
func (x *Executable) MainModule() string { return x.mainModule }

// minorVersion is 26 for "go1.26.8". Distributions and experiments add to that
// ("go1.22.3 (Red Hat 1.22.3-1.el9)", "devel go1.28-ab12cd34 …"), so everything
// around the number is ignored. Releases newer than those tested pass: their
// tables are checked before they are believed.
func minorVersion(version string) (int, error) {
	_, rest, found := strings.Cut(version, "go1.")
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	minor, err := strconv.Atoi(rest[:digits])
	if !found || err != nil {
		return 0, fmt.Errorf("%w %q: need go1.%d or newer", ErrUnsupportedVersion, version, oldestMinor)
	}
	if minor < oldestMinor {
		return 0, fmt.Errorf("%w %q: need go1.%d or newer", ErrUnsupportedVersion, version, oldestMinor)
	}
	return minor, nil
}
