// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"testing"
)

// ServerOptions say how to run the lab server.
type ServerOptions struct {
	Flags      []string // its command line, see lab/server
	NetNS      *NetNS   // nil: the test process's own namespace
	Executable string   // another build of it; empty means TCPSLO_LABSERVER or ./lab/server
}

// Server is a running lab server: an unmodified Go net/http server.
type Server struct {
	PID    int      `json:"pid"`
	Listen []string `json:"listen"` // addresses, in the order of its flags

	process *process
}

// StartServer runs the lab server, waits until it serves, and kills it when the
// test ends.
func StartServer(t testing.TB, opts ServerOptions) *Server {
	t.Helper()
	exe := opts.Executable
	if exe == "" {
		exe = Executable(t, "TCPSLO_LABSERVER", "./lab/server")
	}
	cmd := exec.Command(exe, opts.Flags...)
	log := &lockedBuffer{}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("make server's stdout: %v", err)
	}
	s := &Server{}
	if s.process, err = startProcess(opts.NetNS, cmd); err != nil {
		t.Fatalf("start %s: %v", exe, err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", exe, log)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		t.Fatalf("%s did not say that it is ready: %v in %q\n%s", exe, err, line, log)
	}
	return s
}

// Kill ends the server with SIGKILL and returns when it is gone.
func (s *Server) Kill() { s.process.kill() }

// Get asks the server for a path and returns the body of its answer, which has to be 200.
func (s *Server) Get(t testing.TB, path string) string {
	t.Helper()
	response, err := http.Get("http://" + s.Listen[0] + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v: %s", path, response.StatusCode, err, body)
	}
	return string(body)
}
