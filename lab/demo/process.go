// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"time"
)

// process is a program that the demo started.
type process struct {
	cmd     *exec.Cmd
	address string
	log     *bytes.Buffer
	end     context.CancelFunc
}

// newProcess prepares a program that ends with the context, and with the demo
// however that ends.
func newProcess(ctx context.Context, path string, args ...string) *process {
	ctx, end := context.WithCancel(ctx)
	p := &process{cmd: exec.CommandContext(ctx, path, args...), log: &bytes.Buffer{}, end: end}
	p.cmd.Stderr = p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	// A group of its own keeps Ctrl-C from it: the demo ends its processes itself.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return p
}

// stop ends the process and waits for it.
func (p *process) stop() {
	p.end()
	_ = p.cmd.Wait() // it was told to end
}

// startService starts lab/server and waits for the line that it prints when it
// listens.
func startService(ctx context.Context, path string, args ...string) (*process, error) {
	p := newProcess(ctx, path, args...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var ready struct {
		Listen []string `json:"listen"`
	}
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s: %w\n%s", path, err, p.log)
	}
	p.address = ready.Listen[0]
	return p, nil
}

// startExporter starts the exporter and waits until it is ready, which means
// that everything that runs is observed.
func startExporter(ctx context.Context, path, address string) (*process, error) {
	p := newProcess(ctx, path, "run", "--web.listen-address="+address)
	p.address = address
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 150 {
		if response, err := http.Get("http://" + address + "/readyz"); err == nil {
			response.Body.Close()
			return p, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			p.stop()
			return nil, err
		}
		if syscall.Kill(p.cmd.Process.Pid, 0) != nil {
			break
		}
	}
	p.stop()
	return nil, fmt.Errorf("the exporter is not ready; it said:\n%s", p.log)
}
