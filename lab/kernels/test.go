// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// patience makes the tests' waits longer (TCPSLO_PATIENCE, lab/labtest): an
// emulated CPU is 10 to 30 times slower than the one they were written on.
const patience = "5"

// testCommand builds the project's tests, fetches the kernels that are not cached
// and runs every suite on every kernel.
func testCommand(ctx context.Context, c cache, args []string, out io.Writer, progress progress) (int, error) {
	var kernelNames, suiteNames []string
	var verbose bool
	r := runner{cache: c, progress: progress}
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	r.addFlags(flags, &kernelNames, 15*time.Minute)
	flags.Func("suite", "`suite` of tests to run ("+suiteList()+"); may be repeated", func(name string) error {
		suiteNames = append(suiteNames, name)
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
	chosen, err := selectSuites(suiteNames)
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
	jobs, err := buildJobs(ctx, tmp, kernels, chosen, progress)
	if err != nil {
		return exitRunner, err
	}
	r.out = out
	if !verbose {
		r.out = &failureFilter{out: out}
	}
	results, err := r.run(ctx, jobs)
	if err != nil {
		return exitRunner, err
	}
	return exitCode(results), writeSummary(progress.w, results)
}

func suiteList() string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

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

// buildJobs compiles what the suites need for each architecture and returns a job
// for each kernel and suite.
func buildJobs(ctx context.Context, dir string, kernels []series, suites []suite, progress progress) ([]job, error) {
	built := map[string]string{} // by architecture and package
	build := func(arch, pkg string, command ...string) (string, error) {
		key := arch + " " + pkg
		if path, ok := built[key]; ok {
			return path, nil
		}
		progress.step(arch, "building %s", pkg)
		path := filepath.Join(dir, strings.NewReplacer("./", "", "/", "-", " ", "-").Replace(key))
		cmd := exec.CommandContext(ctx, "go", append(command, "-trimpath", "-buildvcs=false", "-o", path, pkg)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %q for %s: %w\n%s", pkg, arch, err, bytes.TrimSpace(text))
		}
		built[key] = path
		return path, nil
	}
	var jobs []job
	for _, s := range suites {
		for _, k := range kernels {
			if why, ok := s.except[k.name]; ok {
				progress.step(k.name+" "+s.name, "left out: %s", why)
				continue
			}
			test, err := build(k.arch, s.pkg, "test", "-c")
			if err != nil {
				return nil, err
			}
			exporter, err := build(k.arch, "./exporter", "build")
			if err != nil {
				return nil, err
			}
			server, err := build(k.arch, "./lab/server", "build")
			if err != nil {
				return nil, err
			}
			jobs = append(jobs, job{series: k, suite: s.name, payload: payload{
				binary: test,
				args:   s.args(),
				env: []string{
					"TCPSLO_EXPORTER=/opt/tcpslo_exporter", "TCPSLO_LABSERVER=/opt/server",
					"TCPSLO_VARIANTS=" + s.variants, "TCPSLO_PATIENCE=" + patience,
				},
				files: map[string]string{"/opt/tcpslo_exporter": exporter, "/opt/server": server},
			}})
		}
	}
	return jobs, nil
}
