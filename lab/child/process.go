// SPDX-License-Identifier: Apache-2.0

// Package child starts programs of the lab, waits until they are ready, and ends
// them. None outlives the process that started it, however that ends.
package child

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopLimit is how long a program may take to end after SIGTERM: lab/server takes
// 3 s to cut lingering connections.
const stopLimit = 10 * time.Second

// Start starts cmd and waits for it in the background: ended is closed when it is
// gone, and cmd.ProcessState then tells how that came. It is killed when the calling
// process ends. in, unless it is nil, says on which thread to start it, which may be
// in another namespace; it is then killed when that thread ends.
func Start(cmd *exec.Cmd, in func(start func() error) error) (ended <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if in == nil {
		in = func(start func() error) error { return start() }
	}
	started, gone := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig is sent when the thread that forked ends, not the process
		// (prctl(2)), so this one is kept for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := in(cmd.Start)
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState has it
			close(gone)
		}
	}()
	return gone, <-started
}

// Process is a program that was started in a process group of its own, so that
// Ctrl-C reaches only who started it and ends it in good order.
type Process struct {
	PID   int
	Ended <-chan struct{} // closed when it is gone

	cmd  *exec.Cmd
	end  context.CancelFunc
	told bool         // to end, by SIGTERM; read it once Ended is closed
	log  bytes.Buffer // its standard error; read it once Ended is closed
}

// newProcess prepares a program that gets SIGTERM when ctx ends, and SIGKILL if it
// has not ended 10 s later.
func newProcess(ctx context.Context, path string, args ...string) *Process {
	ctx, end := context.WithCancel(ctx)
	p := &Process{cmd: exec.CommandContext(ctx, path, args...), end: end}
	p.cmd.Stderr = &p.log
	p.cmd.Cancel = func() error {
		err := p.cmd.Process.Signal(syscall.SIGTERM)
		p.told = err == nil
		return err
	}
	p.cmd.WaitDelay = stopLimit
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return p
}

func (p *Process) start() error {
	ended, err := Start(p.cmd, nil)
	if err != nil {
		p.end()
		return err
	}
	p.PID, p.Ended = p.cmd.Process.Pid, ended
	return nil
}

// fail ends a process that did not become ready because of err, and adds what it
// wrote to standard error.
func (p *Process) fail(err error) error {
	p.end()
	<-p.Ended
	return fmt.Errorf("start %q: %w (%s); it said:\n%s", p.cmd.Path, err, p.cmd.ProcessState, &p.log)
}

// Stop sends SIGTERM and waits until the process is gone. A process that ended
// before it was told to, exits with another code than 0, or has to be killed because
// it is still there 10 s later, is an error, which has what it wrote to standard
// error.
func (p *Process) Stop() error {
	p.end()
	<-p.Ended
	switch state := p.cmd.ProcessState; {
	case !p.told:
		return fmt.Errorf("process %d of %q ended by itself: %s; it said:\n%s", p.PID, p.cmd.Path, state, &p.log)
	case !state.Success():
		return fmt.Errorf("process %d of %q, which has %s to end after SIGTERM: %s; it said:\n%s", p.PID, p.cmd.Path, p.cmd.WaitDelay, state, &p.log)
	}
	return nil
}
