// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tools is the executables that are measured and that measure, in a folder of
// their own that the end of the bench removes.
type tools struct {
	root     string // of the repository
	dir      string
	exporter string
	hello    string // lab/server: a service is named after the file that it executes
	load     string
	wrk      string // "" if this machine has none
}

// helloService is the name of the service that is observed. It differs from the
// server's usual name, so that one that runs beside the bench isn't counted too.
const helloService = "tcpslo-bench-hello"

func build(ctx context.Context) (tools, error) {
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return tools{}, fmt.Errorf("go env GOMOD: %w", err)
	}
	dir, err := os.MkdirTemp("", "tcpslo-bench")
	if err != nil {
		return tools{}, err
	}
	t := tools{
		root:     filepath.Dir(strings.TrimSpace(string(gomod))),
		dir:      dir,
		exporter: filepath.Join(dir, "tcpslo_exporter"),
		hello:    filepath.Join(dir, helloService),
		load:     filepath.Join(dir, "load"),
	}
	for _, program := range []struct{ file, pkg string }{
		{t.exporter, "./exporter"}, {t.hello, "./lab/server"}, {t.load, "./lab/load"},
	} {
		// As `make build` does it.
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", program.file, program.pkg)
		cmd.Dir, cmd.Env = t.root, append(os.Environ(), "CGO_ENABLED=0")
		if output, err := cmd.CombinedOutput(); err != nil {
			return tools{}, errors.Join(fmt.Errorf("go build %s: %w\n%s", program.pkg, err, output), os.RemoveAll(dir))
		}
	}
	if wrk, err := exec.LookPath("wrk"); err == nil {
		t.wrk = wrk
	}
	return t, nil
}
