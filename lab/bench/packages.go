// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// packages runs the Go benchmarks of a scrape.
func packages(ctx context.Context, b *bench) (section, error) {
	args := []string{"test", "-run", "^$", "-bench", "Scrape", "-benchmem", "./exporter/metric", "./exporter/probe"}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.tools.root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return section{}, fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, stdout, stderr.Bytes())
	}
	var lines strings.Builder
	for line := range strings.Lines(string(stdout)) {
		if strings.HasPrefix(line, "Benchmark") {
			lines.WriteString(line)
		}
	}
	if lines.Len() == 0 {
		return section{}, errors.New("no benchmark of a scrape has run")
	}
	return section{
		title: "The Go benchmarks of a scrape",
		body:  fmt.Sprintf("From the maps to the bytes of the answer, in one process; `cpu-ms` includes the garbage collector.\n\n```\n$ go %s\n%s```\n", strings.Join(args, " "), lines.String()),
	}, nil
}
