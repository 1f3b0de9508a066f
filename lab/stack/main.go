// SPDX-License-Identifier: Apache-2.0

// Command stack starts what docker-compose.yml starts, without containers: a sample service and its customers, the
// exporter, Prometheus, Alertmanager and, if GRAFANA_HOME names the folder of one, Grafana with the plugin. They are
// processes of this machine, with the arguments, the environment and the capabilities of the compose file, and read the
// very files that it mounts. Ctrl-C ends all of them.
//
//	sudo go run ./lab/stack
//
// It needs root, go, Prometheus and Alertmanager, and stands in the root of the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	state := flag.String("state", "build/stack", "`folder` for data and logs, which are found again the next time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *state); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

// run starts everything and waits until ctx ends or one of the processes does.
func run(ctx context.Context, out io.Writer, state string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to load BPF programs (run: sudo make run-stack)")
	}
	l := layout{grafana: os.Getenv("GRAFANA_HOME")}
	if l.root, err = os.Getwd(); err != nil {
		return err
	}
	if l.state, err = filepath.Abs(state); err != nil {
		return err
	}
	c, err := readCompose(filepath.Join(l.root, "docker-compose.yml"))
	if err != nil {
		return err
	}
	programs, err := l.plan(c)
	if err != nil {
		return err
	}
	if err := errors.Join(free(programs), l.folders(c)); err != nil {
		return err
	}
	fmt.Fprintln(out, "  … building; the first time takes a minute")
	if err := l.build(ctx, programs); err != nil {
		return err
	}

	ended := make(chan *process, len(programs))
	var running []*process
	defer func() {
		for _, p := range slices.Backward(running) {
			p.stop()
		}
		fmt.Fprintf(out, "\n%d processes are ended\n", len(running))
	}()
	for _, p := range programs {
		began := time.Now()
		process, err := start(ctx, p, l.state)
		if err != nil {
			return err
		}
		running = append(running, process)
		go func() {
			<-process.ended
			ended <- process
		}()
		fmt.Fprintf(out, "  ✓ %-13s %-23s %5.1f s\n", p.name, p.page, time.Since(began).Seconds())
	}
	if l.grafana == "" {
		fmt.Fprintf(out, "  - %-13s left out: GRAFANA_HOME names no Grafana\n", "grafana")
	}
	fmt.Fprintf(out, "\nAll of it runs. Logs and data are in %s; Ctrl-C ends it.\n", state)
	select {
	case <-ctx.Done():
		return nil
	case p := <-ended:
		return p.endedByItself()
	}
}

// build builds what is built here.
func (l layout) build(ctx context.Context, programs []program) error {
	for _, p := range programs {
		if p.pkg == "" {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-o", l.built(p.role), p.pkg)
		cmd.Dir = l.root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", p.name, err, out)
		}
	}
	return nil
}
