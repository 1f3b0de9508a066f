// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience makes the tests' waits longer (TCPSLO_PATIENCE, lab/labtest): an
// emulated CPU is 10 to 30 times slower than the one they were written on.
const patience = "5"

// testCommand builds the project's tests, fetches the kernels that are not cached
// and runs every suite on every kernel.
func testCommand(ctx context.Context, c cache, args []string, out io.Writer, progress progress) (int, error) {
	var kernelNames, names []string
	var verbose bool
	r := runner{cache: c, progress: progress, out: out}
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	r.addFlags(flags, &kernelNames, 15*time.Minute)
	flags.Func("suite", "`suite` of tests to run ("+strings.Join(suiteNames(), ", ")+"); may be repeated", func(name string) error {
		names = append(names, name)
		return nil
	})
	flags.BoolVar(&verbose, "v", false, "print the output of tests that pass, too")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if flags.NArg() > 0 {
		return 2, fmt.Errorf("test: unexpected argument %q", flags.Arg(0))
	}
	kernels, err := selectSeries(kernelNames)
	if err != nil {
		return 2, err
	}
	chosen, err := selectSuites(names)
	if err != nil {
		return 2, err
	}
	if err := r.fetchMissing(ctx, kernels); err != nil {
		return exitRunner, err
	}
	tmp, err := os.MkdirTemp("", "tcpslo-kernels-")
	if err != nil {
		return exitRunner, err
	}
	defer os.RemoveAll(tmp)
	b := builder{dir: tmp, progress: progress, built: map[string]string{}}
	jobs, err := b.jobs(ctx, kernels, chosen, verbose)
	if err != nil {
		return exitRunner, err
	}
	results, err := r.run(ctx, jobs)
	if err != nil {
		return exitRunner, err
	}
	return exitCode(results), writeSummary(progress.w, results)
}

// fetchMissing fetches the kernels that are not in the cache. It asks for apt only
// if there are any.
func (r *runner) fetchMissing(ctx context.Context, kernels []series) error {
	var absent []series
	for _, k := range kernels {
		if _, err := r.cache.load(k.name); missing(err) {
			absent = append(absent, k)
		} else if err != nil {
			return err
		}
	}
	if len(absent) == 0 {
		return nil
	}
	f := fetcher{cache: r.cache, progress: r.progress}
	return f.fetch(ctx, absent)
}

// modulePath begins the path of every package of the project.
const modulePath = "github.com/tcpslo/tcpslo/"

// builder compiles what runs in the guests, each package once for an architecture.
type builder struct {
	dir      string
	progress progress
	built    map[string]string // path by architecture and package
}

// jobs returns a job for each suite and kernel, after it has built what they need.
func (b *builder) jobs(ctx context.Context, kernels []series, suites []suite, verbose bool) ([]job, error) {
	var jobs []job
	for _, s := range suites {
		for _, k := range kernels {
			if why, ok := s.except[k.name]; ok {
				b.progress.step(k.name+" "+s.name, "left out: %s", why)
				continue
			}
			test, err := b.build(ctx, k.arch, s.pkg, "test", "-c")
			if err != nil {
				return nil, err
			}
			exporter, err := b.build(ctx, k.arch, "exporter", "build")
			if err != nil {
				return nil, err
			}
			server, err := b.build(ctx, k.arch, "lab/server", "build")
			if err != nil {
				return nil, err
			}
			reader, err := b.build(ctx, k.arch, "lab/reader", "build")
			if err != nil {
				return nil, err
			}
			jobs = append(jobs, job{k, s.name, payload{
				binary: test,
				args:   s.args(k.name, verbose),
				env: []string{
					"TCPSLO_EXPORTER=/opt/tcpslo_exporter", "TCPSLO_LABSERVER=/opt/server", "TCPSLO_LABREADER=/opt/reader",
					"TCPSLO_VARIANTS=" + s.variants, "TCPSLO_COLLECTORS_OFF=" + strings.Join(s.off, ","), "TCPSLO_PATIENCE=" + patience,
					"CI=true", // no test may skip itself, see leftOut
				},
				files: map[string]string{"/opt/tcpslo_exporter": exporter, "/opt/server": server, "/opt/reader": reader},
			}})
		}
	}
	return jobs, nil
}

// build runs a go command that makes a static executable of a package.
func (b *builder) build(ctx context.Context, arch, pkg string, command ...string) (string, error) {
	key := arch + "-" + strings.ReplaceAll(pkg, "/", "-")
	if path, ok := b.built[key]; ok {
		return path, nil
	}
	b.progress.step(arch, "building %s", pkg)
	path := filepath.Join(b.dir, key)
	cmd := exec.CommandContext(ctx, "go", append(command, "-trimpath", "-buildvcs=false", "-o", path, modulePath+pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %q for %s: %w\n%s", pkg, arch, err, bytes.TrimSpace(text))
	}
	b.built[key] = path
	return path, nil
}
