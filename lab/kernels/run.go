// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// runner runs tests on several kernels.
type runner struct {
	cache    cache
	machine  machine
	parallel int  // machines at a time
	raw      bool // print the tests' output as it is, without the kernel's name
	progress progress
	out      io.Writer // of the tests
}

// job is one boot of one kernel.
type job struct {
	series
	suite   string // what is run, for a person; "" where there is only one thing
	payload payload
}

// label names the job in messages and files.
func (j job) label() string {
	if j.suite == "" {
		return j.name
	}
	return j.name + " " + j.suite
}

// run does the jobs, several at a time, and returns how each did, in their order.
// The error says why nothing was run.
func (r *runner) run(ctx context.Context, jobs []job) ([]result, error) {
	tmp, err := os.MkdirTemp("", "tcpslo-kernels-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if r.machine.keepLogs != "" {
		if err := os.MkdirAll(r.machine.keepLogs, 0o755); err != nil {
			return nil, err
		}
	}

	// All that can be wrong on the host is found before the first machine starts.
	records := map[string]record{}
	inits := map[string]string{}
	var emulators []string
	for _, j := range jobs {
		if _, ok := records[j.name]; ok {
			continue
		}
		switch records[j.name], err = r.cache.load(j.name); {
		case missing(err):
			return nil, fmt.Errorf("kernel %q is not cached: fetch it with `go run ./lab/kernels fetch %s`", j.name, j.name)
		case err != nil:
			return nil, err
		}
		if !slices.Contains(emulators, qemu(j.arch)) {
			emulators = append(emulators, qemu(j.arch))
		}
	}
	if err := needTools(emulators...); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if inits[j.arch] == "" {
			if inits[j.arch], err = buildInit(ctx, tmp, j.arch); err != nil {
				return nil, err
			}
		}
	}

	results := make([]result, len(jobs))
	var output sync.Mutex
	var running sync.WaitGroup
	slots := make(chan struct{}, max(1, r.parallel))
	for i, j := range jobs {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			out := &lineWriter{lock: &output, out: r.out, prefix: "[" + j.label() + "] "}
			if r.raw {
				out.prefix = ""
			}
			results[i] = r.runOne(ctx, j, records[j.name], inits[j.arch], filepath.Join(tmp, strconv.Itoa(i)), out)
		})
	}
	running.Wait()
	return results, nil
}

func (r *runner) runOne(ctx context.Context, j job, rec record, init, dir string, out *lineWriter) result {
	res := result{kernel: j.name, suite: j.suite, release: rec.Release, verdict: notStarted}
	if ctx.Err() != nil {
		res.verdict = interrupted
		return res
	}
	initrd := filepath.Join(dir, "initrd")
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		// The archive can be large: it goes when its machine has ended, not at the end.
		defer os.RemoveAll(dir)
		err = writeInitramfs(initrd, init, j.name, j.payload)
	}
	if err != nil {
		res.detail = err.Error()
	} else {
		r.progress.step(j.label(), "booting %s", rec.Release)
		var printed bytes.Buffer
		res = r.machine.boot(ctx, j, rec, r.cache.image(j.name), initrd, dir, io.MultiWriter(out, &printed))
		res.printed = tail(printed.String(), 60)
	}
	if err := out.close(); err != nil && res.detail == "" {
		res.verdict, res.detail = noOutcome, fmt.Sprintf("write the test's output: %v", err)
	}
	colour := green
	if res.verdict != passed {
		colour = red
	}
	r.progress.step(j.label(), "%s", strings.TrimSpace(r.progress.paint(colour, res.String())+"\n"+res.detail))
	return res
}
