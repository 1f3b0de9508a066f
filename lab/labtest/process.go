// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

// process is a child that never outlives the test process, not even when that
// one is killed for taking too long.
type process struct {
	cmd  *exec.Cmd
	done <-chan struct{} // closed when the child has been waited for
}

// startProcess starts cmd in the namespace ns (nil: the test process's own).
func startProcess(ns *NetNS, cmd *exec.Cmd) (*process, error) {
	cmd.WaitDelay = 2 * time.Second
	done, err := child.Start(cmd, ns.Do)
	return &process{cmd: cmd, done: done}, err
}

// stop sends sig and returns the exit code, or an error if the child was ended
// by a signal or is still there after the limit; it is then killed.
func (p *process) stop(sig os.Signal, limit time.Duration) (int, error) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return -1, fmt.Errorf("send %s: %w", sig, err)
	}
	return p.wait(limit)
}

func (p *process) wait(limit time.Duration) (int, error) {
	select {
	case <-p.done:
	case <-time.After(limit * patience()):
		p.cmd.Process.Kill()
		<-p.done
		return -1, fmt.Errorf("process %d had not ended after %s", p.cmd.Process.Pid, limit*patience())
	}
	if state := p.cmd.ProcessState; !state.Exited() {
		return -1, fmt.Errorf("process %d ended by %s", p.cmd.Process.Pid, state)
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// kill ends the child with SIGKILL and returns when it is gone.
func (p *process) kill() {
	if p.running() {
		p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// lockedBuffer collects the output of a child while the test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// OpenFiles counts the open file descriptors of a process by kind: "socket",
// "pipe", "anon_inode:bpf-map", "anon_inode:bpf_link", "anon_inode:[perf_event]",
// or the path of a file. Source: the links in /proc/PID/fd (proc(5)).
func OpenFiles(pid int) (map[string]int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list open files: %w", err)
	}
	kinds := map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // closed since the listing
		}
		if err != nil {
			return nil, fmt.Errorf("read open file: %w", err)
		}
		if kind, _, numbered := strings.Cut(target, ":["); numbered && !strings.HasPrefix(target, "anon_inode:") {
			target = kind
		}
		kinds[target]++
	}
	return kinds, nil
}
