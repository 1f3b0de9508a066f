// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

const (
	readyLimit = time.Minute      // Grafana makes a database when it starts for the first time
	stopLimit  = 10 * time.Second // then it is killed
)

// process is a program that runs. It is in a process group of its own, so that Ctrl-C reaches only who started
// it, and does not outlive that one.
type process struct {
	program
	cmd   *exec.Cmd
	log   string // file
	ended <-chan struct{}
}

// start runs a program and returns when it serves.
func start(ctx context.Context, p program, state string) (*process, error) {
	log, err := os.Create(filepath.Join(state, p.name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ended, err := child.Start(cmd, nil)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	running := &process{p, cmd, log.Name(), ended}
	if err := running.wait(ctx); err != nil {
		running.stop()
		return nil, err
	}
	return running, nil
}

// wait returns when the process serves.
func (p *process) wait(ctx context.Context) error {
	if p.page == "" {
		return nil
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	late := time.After(readyLimit)
	for {
		answer, err := client.Get(p.page + p.ready)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(answer.Status)
		}
		select {
		case <-p.ended:
			return p.endedByItself()
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("%s is not ready after %s: %w; its log %s ends with\n%s", p.name, readyLimit, err, p.log, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) endedByItself() error {
	return fmt.Errorf("%s ended by itself: %s; its log %s ends with\n%s", p.name, p.cmd.ProcessState, p.log, p.tail())
}

// tail is the end of the log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// stop ends the process in good order, or kills it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has ended is what is wanted
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
}
