// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// runner runs one payload on several kernels.
type runner struct {
	cache    cache
	machine  machine
	parallel int  // machines at a time
	raw      bool // print the tests' output as it is, without the kernel's name
	progress progress
	out      io.Writer // of the tests
}

// run boots each kernel with the payload and returns how each did, in the
// kernels' order. The error says why nothing was run.
func (r *runner) run(ctx context.Context, kernels []series, p payload) ([]result, error) {
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
	records := make([]record, len(kernels))
	inits := map[string]string{}
	var emulators []string
	for i, k := range kernels {
		switch records[i], err = r.cache.load(k.name); {
		case missing(err):
			return nil, fmt.Errorf("kernel %q is not cached: fetch it with `go run ./lab/kernels fetch %s`", k.name, k.name)
		case err != nil:
			return nil, err
		}
		if !slices.Contains(emulators, qemu(k.arch)) {
			emulators = append(emulators, qemu(k.arch))
		}
	}
	if err := needTools(emulators...); err != nil {
		return nil, err
	}
	for _, k := range kernels {
		if inits[k.arch] == "" {
			if inits[k.arch], err = buildInit(ctx, tmp, k.arch); err != nil {
				return nil, err
			}
		}
	}

	results := make([]result, len(kernels))
	var output sync.Mutex
	var running sync.WaitGroup
	slots := make(chan struct{}, max(1, r.parallel))
	for i, k := range kernels {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			out := &lineWriter{lock: &output, out: r.out, prefix: "[" + k.name + "] "}
			if r.raw {
				out.prefix = ""
			}
			results[i] = r.runOne(ctx, k, records[i], p, inits[k.arch], filepath.Join(tmp, k.name), out)
		})
	}
	running.Wait()
	return results, nil
}

func (r *runner) runOne(ctx context.Context, k series, rec record, p payload, init, dir string, out *lineWriter) result {
	res := result{kernel: k.name, release: rec.Release, verdict: notStarted}
	if ctx.Err() != nil {
		res.verdict = interrupted
		return res
	}
	initrd := filepath.Join(dir, "initrd")
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		// The archive can be large: it goes when its machine has ended, not at the end.
		defer os.RemoveAll(dir)
		err = writeInitramfs(initrd, init, k.name, p)
	}
	if err != nil {
		res.detail = err.Error()
	} else {
		r.progress.step(k.name, "booting %s", rec.Release)
		res = r.machine.boot(ctx, k, rec, r.cache.image(k.name), initrd, dir, out)
	}
	if err := out.close(); err != nil && res.detail == "" {
		res.verdict, res.detail = noOutcome, fmt.Sprintf("write the test's output: %v", err)
	}
	colour := green
	if res.verdict != passed {
		colour = red
	}
	r.progress.step(k.name, "%s", strings.TrimSpace(r.progress.paint(colour, res.String())+"\n"+res.detail))
	return res
}
