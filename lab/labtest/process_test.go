// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

func TestServer_answers_in_the_namespace_it_was_started_in(t *testing.T) {
	testenv.NeedRoot(t)
	ns := NewNetNS(t)
	s := StartServer(t, ServerOptions{Flags: []string{"-listen", "127.0.0.1:0"}, NetNS: ns})
	if len(s.Listen) != 1 || s.PID != s.process.cmd.Process.Pid {
		t.Fatalf("server %d says pid %d and listen %v", s.process.cmd.Process.Pid, s.PID, s.Listen)
	}
	var status int
	err := ns.Do(func() error {
		conn, err := net.Dial("tcp4", s.Listen[0])
		if err != nil {
			return err
		}
		client := http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return conn, nil }}}
		resp, err := client.Get("http://" + s.Listen[0] + "/hello/x")
		if err != nil {
			return err
		}
		status = resp.StatusCode
		return resp.Body.Close()
	})
	if err != nil || status != http.StatusOK {
		t.Errorf("GET /hello/x answered %d (%v), want 200", status, err)
	}
	s.Kill()
	if s.process.running() {
		t.Error("the server runs after Kill")
	}
}

func TestStop_tells_an_exit_from_a_death_by_signal(t *testing.T) {
	start := func(command string) *process {
		t.Helper()
		p, err := startProcess(nil, exec.Command("/bin/sh", "-c", command))
		if err != nil {
			testenv.Skip(t, "no shell here: "+err.Error())
		}
		return p
	}
	if code, err := start("exit 7").wait(5 * time.Second); code != 7 || err != nil {
		t.Errorf("exit code %d (%v), want 7", code, err)
	}
	if code, err := start("exec sleep 60").stop(syscall.SIGTERM, 5*time.Second); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("a process that dies of SIGTERM gave code %d and error %v, want an error", code, err)
	}
	p := start("trap '' TERM; while :; do sleep 0.1; done")
	time.Sleep(100 * time.Millisecond)
	if code, err := p.stop(syscall.SIGTERM, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "had not ended") {
		t.Errorf("a process that ignores SIGTERM gave code %d and error %v, want an error", code, err)
	}
}

func TestRetry_returns_the_last_error_and_stops_at_success(t *testing.T) {
	calls := 0
	err := retry(time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls and %v, want 3 and success", calls, err)
	}
	calls = 0
	err = retry(0, func() error {
		calls++
		return fmt.Errorf("failure %d", calls)
	})
	if err == nil || err.Error() != fmt.Sprintf("failure %d", calls) {
		t.Errorf("after %d calls the error is %v", calls, err)
	}
}
