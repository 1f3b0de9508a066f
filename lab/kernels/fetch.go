// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// fetcher downloads kernels from Debian's archive into the cache.
type fetcher struct {
	cache    cache
	mirrors  mirrors
	refresh  bool
	progress progress

	apts map[[2]string]*apt // by suite and architecture
	tmp  string
}

// fetch downloads each kernel that is not cached, or all of them with refresh.
// One that cannot be had does not keep the others away; the errors are joined.
func (f *fetcher) fetch(ctx context.Context, kernels []series) error {
	if err := needTools("apt-get", "apt-cache", "dpkg-deb"); err != nil {
		return err
	}
	unlock, err := f.cache.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if f.tmp, err = os.MkdirTemp("", "tcpslo-kernels-"); err != nil {
		return err
	}
	defer os.RemoveAll(f.tmp)
	f.apts = map[[2]string]*apt{}

	var failed []error
	for _, k := range kernels {
		if err := f.fetchOne(ctx, k); err != nil {
			f.progress.step(k.name, "%s", f.progress.paint(red, "failed"))
			failed = append(failed, fmt.Errorf("fetch kernel %q: %w", k.name, err))
		}
	}
	return errors.Join(failed...)
}

func (f *fetcher) fetchOne(ctx context.Context, k series) error {
	if !f.refresh {
		switch r, err := f.cache.load(k.name); {
		case err == nil:
			f.progress.step(k.name, "%s is cached", r.Release)
			return nil
		case !missing(err):
			return err
		}
	}
	a, err := f.apt(ctx, k)
	if err != nil {
		return err
	}
	names, err := a.linuxPackages(ctx)
	if err != nil {
		return err
	}
	pkg, err := newestPackage(names, k.version, k.arch)
	if err != nil {
		return fmt.Errorf("%q has %w", k.suite, err)
	}
	f.progress.step(k.name, "downloading %s", pkg)
	deb, err := a.download(ctx, pkg)
	if err != nil {
		return err
	}
	defer os.Remove(deb)
	version, err := debVersion(ctx, deb)
	if err != nil {
		return err
	}
	r := record{Package: pkg, Version: version, Suite: k.suite, Arch: k.arch}
	r, err = f.cache.store(k.name, r, func(w io.Writer) (string, error) { return extractKernel(ctx, deb, w) })
	if err != nil {
		return err
	}
	f.progress.step(k.name, "%s (%s) %s", r.Release, r.Version, f.progress.paint(green, "fetched"))
	return nil
}

// apt returns the apt of the kernel's suite and architecture, set up at its first
// use, with the system's mirrors unless others were given.
func (f *fetcher) apt(ctx context.Context, k series) (*apt, error) {
	key := [2]string{k.suite, k.arch}
	if a := f.apts[key]; a != nil {
		return a, nil
	}
	if f.mirrors.site(k.suite) == "" {
		system, err := systemMirrors(ctx)
		if err != nil {
			return nil, err
		}
		if f.mirrors.main == "" {
			f.mirrors.main = system.main
		}
		if f.mirrors.security == "" {
			f.mirrors.security = system.security
		}
	}
	dir, err := os.MkdirTemp(f.tmp, k.suite+"-"+k.arch+"-")
	if err != nil {
		return nil, err
	}
	a, err := newAPT(ctx, dir, f.mirrors.site(k.suite), k.suite, k.arch)
	if err != nil {
		return nil, err
	}
	f.apts[key] = a
	return a, nil
}

// debianPackage names the Debian package that brings a program that a Debian
// system may lack.
var debianPackage = map[string]string{
	"qemu-system-x86_64":  "qemu-system-x86",
	"qemu-system-aarch64": "qemu-system-arm",
}

// needTools returns an error that names the programs that are not installed and
// the Debian packages that would bring them. Nothing is installed: that is for
// the owner of the machine to do.
func needTools(names ...string) error {
	var lacking, packages []string
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			lacking = append(lacking, name)
			if pkg := debianPackage[name]; pkg != "" {
				packages = append(packages, pkg)
			}
		}
	}
	switch {
	case len(lacking) == 0:
		return nil
	case len(packages) == 0:
		return fmt.Errorf("%s not found: kernels are fetched with the tools of a Debian system", strings.Join(lacking, ", "))
	default:
		return fmt.Errorf("%s not found: apt-get install --no-install-recommends %s", strings.Join(lacking, ", "), strings.Join(packages, " "))
	}
}
