// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/lab/kernels/internal/guest"
)

// payload is what runs in the virtual machines.
type payload struct {
	binary string            // path of the test binary on the host
	args   []string          // its arguments
	env    []string          // NAME=VALUE
	files  map[string]string // path in the guest → path on the host
}

// addFile adds a file, or a folder with all that is in it, from DEST=SRC: the
// absolute path in the guest and the path on the host.
func (p *payload) addFile(text string) error {
	dest, src, ok := strings.Cut(text, "=")
	if !ok || !path.IsAbs(dest) || src == "" {
		return fmt.Errorf("want DEST=SRC with an absolute DEST, got %q", text)
	}
	dest = path.Clean(dest)
	for _, mount := range guest.MountPoints {
		if dest == mount || strings.HasPrefix(dest, mount+"/") {
			return fmt.Errorf("%q would be hidden: the guest mounts a file system on %q", dest, mount)
		}
	}
	return filepath.WalkDir(src, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		if p.files == nil {
			p.files = map[string]string{}
		}
		p.files[path.Join(dest, filepath.ToSlash(below))] = name
		return nil
	})
}

// addEnv adds a variable from NAME=VALUE.
func (p *payload) addEnv(text string) error {
	if name, _, ok := strings.Cut(text, "="); !ok || name == "" {
		return fmt.Errorf("want NAME=VALUE, got %q", text)
	}
	p.env = append(p.env, text)
	return nil
}

// arch returns the architecture that the test binary is for. It refuses a binary
// that the guest could not start: one for another architecture, or one that is
// dynamically linked without its loader among the files.
func (p *payload) arch() (string, error) {
	file, err := elf.Open(p.binary)
	if err != nil {
		return "", fmt.Errorf("read the test binary %q: %w", p.binary, err)
	}
	defer file.Close()
	arch := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[file.Machine]
	if arch == "" {
		return "", fmt.Errorf("the test binary %q is for %s; the matrix has kernels for amd64 and arm64", p.binary, file.Machine)
	}
	for _, prog := range file.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		text := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(text, 0); err != nil {
			return "", fmt.Errorf("read the loader of the test binary %q: %w", p.binary, err)
		}
		loader := strings.TrimRight(string(text), "\x00")
		if p.files[loader] == "" {
			return "", fmt.Errorf("the test binary %q is dynamically linked and the guest has no %q: build it with CGO_ENABLED=0", p.binary, loader)
		}
	}
	return arch, nil
}

// choose returns those of the kernels that the test binary can run on. Kernels of
// the other architecture are returned as left out, unless they were asked for by
// name, which is an error.
func (p *payload) choose(kernels []series, names []string) (chosen, leftOut []series, err error) {
	arch, err := p.arch()
	if err != nil {
		return nil, nil, err
	}
	for _, k := range kernels {
		switch {
		case k.arch == arch:
			chosen = append(chosen, k)
		case slices.Contains(names, k.name):
			return nil, nil, fmt.Errorf("the test binary %q is for %s, kernel %q is for %s: build it with GOARCH=%s", p.binary, arch, k.name, k.arch, k.arch)
		default:
			leftOut = append(leftOut, k)
		}
	}
	return chosen, leftOut, nil
}
