// SPDX-License-Identifier: Apache-2.0

package child

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain also plays a program that starts another one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "parent" {
		cmd := exec.Command("sleep", "60")
		if _, err := Start(cmd, nil); err != nil {
			panic(err)
		}
		fmt.Printf(`{"listen": ["%d"]}`, cmd.Process.Pid)
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

// script makes a program of a shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantGone waits until no process or thread with this id has memory any more, which
// those that nobody has waited for don't (proc_pid_cmdline(5)).
func wantGone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); len(line) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got error %v, want one with %q", err, part)
		}
	}
}

func TestA_child_is_killed_when_its_parent_is(t *testing.T) {
	parent, err := StartServer(t.Context(), os.Args[0], "parent")
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(parent.Listen[0], &pid); err != nil || syscall.Kill(pid, 0) != nil {
		t.Fatalf("the parent's child %q does not run (%v)", parent.Listen[0], err)
	}
	if err := syscall.Kill(parent.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-parent.Ended
	wantGone(t, pid)
}

func TestA_child_outlives_the_thread_that_wanted_it(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	var ended <-chan struct{}
	var err error
	thread := onThread(func() { ended, err = Start(cmd, nil) })
	if err != nil {
		t.Fatal(err)
	}
	wantGone(t, thread)
	select {
	case <-ended:
		t.Errorf("it ended with that thread: %s", cmd.ProcessState)
	case <-time.After(100 * time.Millisecond):
	}
	cmd.Process.Kill()
	<-ended
}

// onThread calls fn on a thread that ends then, and returns the thread's id.
func onThread(fn func()) int {
	thread := make(chan int)
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() != os.Getpid() {
			fn()
			thread <- syscall.Gettid()
			return // still locked: the runtime ends the thread
		}
		// It never ends the main thread. While this one is held, the next is another.
		thread <- onThread(fn)
		runtime.UnlockOSThread()
	}()
	return <-thread
}

func TestStop_tells_how_a_process_ended(t *testing.T) {
	const listening, forever = `echo '{"pid": 1, "listen": ["127.0.0.1:80", "unix:/x"]}'; `, `while :; do sleep 0.01; done`
	stop := (*Server).Stop
	for _, c := range []struct {
		name, script string
		stop         func(*Server) error
		want         []string // nothing: no error
	}{
		{"exits in good order", `trap 'exit 0' TERM; ` + listening + forever, stop, nil},
		{"exits with another code than 0", `trap 'echo "not like this" >&2; exit 7' TERM; ` + listening + forever, stop, []string{"exit status 7", "not like this"}},
		{"dies of SIGTERM", listening + `exec sleep 60`, stop, []string{"signal: terminated"}},
		{"is killed after the limit", `trap '' TERM; ` + listening + forever, func(s *Server) error {
			s.cmd.WaitDelay = 300 * time.Millisecond
			return s.Stop()
		}, []string{"signal: killed", "has 300ms to end"}},
		{"ended by itself", `trap 'echo "that is all" >&2; exit 0' TERM; ` + listening + forever, func(s *Server) error {
			err := syscall.Kill(s.PID, syscall.SIGTERM)
			<-s.Ended
			return errors.Join(err, s.Stop())
		}, []string{"by itself: exit status 0", "that is all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := StartServer(t.Context(), script(t, c.script))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.Listen, " "); got != "127.0.0.1:80 unix:/x" {
				t.Errorf("it listens on %q", got)
			}
			err = c.stop(s)
			if wantError(t, err, c.want...); c.want == nil && err != nil {
				t.Error(err)
			}
			wantGone(t, s.PID)
		})
	}
}

func TestA_program_that_does_not_get_ready_is_ended_and_says_why(t *testing.T) {
	_, err := StartServer(t.Context(), script(t, `echo "no port left" >&2; exit 3`))
	wantError(t, err, "read where it listens", "exit status 3", "no port left")
	_, err = StartServer(t.Context(), script(t, `echo ready; exec sleep 60`))
	wantError(t, err, "read where it listens: invalid character", "signal: terminated")
	_, err = StartExporter(t.Context(), script(t, `echo "$@" >&2; exit 2`), "--wrong")
	wantError(t, err, "ended before it was ready", "exit status 2", "run --web.listen-address=127.0.0.1:", " --wrong")

	p := newProcess(t.Context(), script(t, `echo "thinking" >&2; exec sleep 60`))
	stdout, err := p.cmd.StdoutPipe()
	if err := errors.Join(err, p.start()); err != nil {
		t.Fatal(err)
	}
	_, err = p.listens(stdout, 300*time.Millisecond)
	wantError(t, p.fail(err), "did not say within 300ms", "signal: terminated", "thinking")
	wantGone(t, p.PID)
}

func TestReady_is_what_answers_200(t *testing.T) {
	p := newProcess(t.Context(), "sleep", "60")
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	if err := p.ready(s.URL, 10*time.Second); err != nil || requests != 3 {
		t.Errorf("it was asked %d times (%v), want 3: twice it was not ready", requests, err)
	}
	s.Close()
	wantError(t, p.fail(p.ready(s.URL, 300*time.Millisecond)), "not ready within 300ms", "connection refused", "signal: terminated")
}
