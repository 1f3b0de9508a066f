// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"time"
)

// process is a program that the bench started. It ends with the bench, however
// that ends.
type process struct {
	cmd     *exec.Cmd
	address string
	log     *bytes.Buffer
	ended   chan struct{} // closed when the process has been waited for
	err     error         // valid then
}

func newProcess(ctx context.Context, path string, args ...string) *process {
	p := &process{cmd: exec.CommandContext(ctx, path, args...), log: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Stderr = p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) wait() {
	p.err = p.cmd.Wait()
	close(p.ended)
}

// stop ends the process and tells how long it took to go. It may be called
// again.
func (p *process) stop() (time.Duration, error) {
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		<-p.ended
		return 0, p.err
	}
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill() //nolint:errcheck // it may have gone by itself now
		<-p.ended
		return 0, fmt.Errorf("process %d had not ended 10 s after SIGTERM", p.pid())
	}
	if p.err != nil {
		return 0, fmt.Errorf("process %d: %w; it said:\n%s", p.pid(), p.err, p.log)
	}
	return time.Since(began), nil
}

// startServer starts lab/server and waits for the line that it prints when it
// listens.
func startServer(ctx context.Context, path string) (*process, error) {
	p := newProcess(ctx, path)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	go p.wait()
	var ready struct {
		Listen []string `json:"listen"`
	}
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		_, stopErr := p.stop()
		return nil, errors.Join(fmt.Errorf("start %s: %w", path, err), stopErr)
	}
	p.address = ready.Listen[0]
	return p, nil
}

// exporter is a running exporter.
type exporter struct {
	*process
	client *http.Client
	size   int           // of the longest answer of /metrics
	took   time.Duration // from the start of the process until it answered
}

// startExporter starts the exporter and waits until it answers, which it does
// once everything that runs is observed.
func startExporter(ctx context.Context, path string, flags ...string) (*exporter, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	e := &exporter{
		process: newProcess(ctx, path, append([]string{"run", "--web.listen-address=" + address}, flags...)...),
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableCompression: true}},
	}
	e.address = address
	began := time.Now()
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	go e.wait()
	for {
		if response, err := e.client.Get("http://" + address + "/readyz"); err == nil {
			response.Body.Close()
			e.took = time.Since(began)
			return e, nil
		}
		select {
		case <-e.ended:
			return nil, fmt.Errorf("the exporter ended before it was ready: %w; it said:\n%s", errors.Join(ctx.Err(), e.err), e.log)
		case <-time.After(time.Millisecond):
		}
		if time.Since(began) > 30*time.Second {
			_, err := e.stop()
			return nil, errors.Join(fmt.Errorf("the exporter was not ready after 30 s; it said:\n%s", e.log), err)
		}
	}
}

// stop closes the bench's own connections first: the exporter waits for requests
// under way, and only the end of the observation is of interest.
func (e *exporter) stop() (time.Duration, error) {
	e.client.CloseIdleConnections()
	return e.process.stop()
}

// finish stops the exporter after a measurement that ended with err, which may be
// nil. If the exporter had gone before, that is why, and its log tells more.
func (e *exporter) finish(err error) error {
	if err == nil {
		_, err := e.stop()
		return err
	}
	select {
	case <-e.ended:
		return fmt.Errorf("%w; the exporter has ended (%s), it said:\n%s", err, e.cmd.ProcessState, e.log)
	case <-time.After(time.Second): // it may be about to end
		_, stopErr := e.stop()
		return errors.Join(err, stopErr)
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
