// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// workerEnv holds the WorkerOptions, as JSON, of a process that is a worker.
const workerEnv = "TCPSLO_LABTEST_WORKER"

// WorkerOptions say what a worker serves, or that it is a client: exactly one of the four.
type WorkerOptions struct {
	Listen  *ListenOptions // opens this listener and accepts only when told to
	Inherit bool           // uses the listener it gets as file descriptor 3
	HTTP    string         // serves HTTP with net/http on this address
	Visit   *Visit         // makes Visits connections and keeps them, see StartVisitors
	Visits  int
	// Executable is the copy of the test binary to run, so that a worker may
	// have a name of its own; empty means the test binary itself.
	Executable string `json:"-"`
	// Inherited is the listener that an Inherit worker gets.
	Inherited *Listener `json:"-"`
}

// Worker is a child process, the test binary in another role, that owns a
// listener: what runs in a container, or what a pre-forking server leaves its
// listener to.
type Worker struct {
	PID  int            `json:"pid"`
	FD   int            `json:"fd"` // of the listening socket
	Addr netip.AddrPort `json:"addr"`

	Visitors []netip.AddrPort `json:"visitors,omitempty"` // addresses of a client's connections

	process *process
	in      io.WriteCloser
	out     *bufio.Reader
}

// StartWorker starts a worker in the namespace ns (nil: the test process's own),
// waits until it listens, and kills it when the test ends.
func StartWorker(t testing.TB, ns *NetNS, opts WorkerOptions) *Worker {
	t.Helper()
	spec, err := json.Marshal(opts)
	if err != nil {
		t.Fatalf("encode worker options: %v", err)
	}
	exe := opts.Executable
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			t.Fatalf("find own executable: %v", err)
		}
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"="+string(spec))
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	if opts.Inherited != nil {
		// os.File would take the descriptor over and close it, so it gets
		// a duplicate.
		f, err := duplicate(opts.Inherited.FD)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = []*os.File{f}
	}
	w := &Worker{}
	if w.in, err = cmd.StdinPipe(); err != nil {
		t.Fatalf("make worker's stdin: %v", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("make worker's stdout: %v", err)
	}
	w.out = bufio.NewReader(stdout)
	if w.process, err = startProcess(ns, cmd); err != nil {
		t.Fatalf("start worker: %v", err)
	}
	t.Cleanup(w.Kill)
	if err := w.read(w); err != nil {
		t.Fatalf("worker did not start: %v\n%s", err, stderr.String())
	}
	return w
}

// Label is the label value that names the worker's listener: "PID/FD".
func (w *Worker) Label() string { return fmt.Sprintf("%d/%d", w.PID, w.FD) }

// Accept makes the worker accept n connections and keep them.
func (w *Worker) Accept(t testing.TB, n int) {
	t.Helper()
	if _, err := fmt.Fprintln(w.in, n); err != nil {
		t.Fatalf("tell worker to accept: %v", err)
	}
	var reply struct {
		Accepted int    `json:"accepted"`
		Error    string `json:"error"`
	}
	if err := w.read(&reply); err != nil {
		t.Fatalf("worker's reply: %v", err)
	}
	if reply.Accepted != n {
		t.Fatalf("worker accepted %d of %d connections: %s", reply.Accepted, n, reply.Error)
	}
}

// Kill ends the worker with SIGKILL, as an out-of-memory killer would, and
// returns when it is gone.
func (w *Worker) Kill() { w.process.kill() }

func (w *Worker) read(into any) error {
	line, err := w.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read line: %w", err)
	}
	if err := json.Unmarshal(line, into); err != nil {
		return fmt.Errorf("parse %q: %w", line, err)
	}
	return nil
}

// runWorker is the other side: it serves until its stdin ends.
func runWorker(spec string) int {
	err := serveWorker(spec, os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

func serveWorker(spec string, in io.Reader, out io.Writer) error {
	var opts WorkerOptions
	if err := json.Unmarshal([]byte(spec), &opts); err != nil {
		return fmt.Errorf("parse options: %w", err)
	}
	reply := json.NewEncoder(out)
	if opts.Visit != nil {
		return visit(opts, in, reply)
	}
	if opts.HTTP != "" {
		return serveHTTP(opts.HTTP, in, reply)
	}
	l := &Listener{FD: 3}
	if opts.Listen != nil {
		var err error
		if l, err = listen(*opts.Listen); err != nil {
			return err
		}
	}
	if err := reply.Encode(Worker{PID: os.Getpid(), FD: l.FD, Addr: l.Addr}); err != nil {
		return fmt.Errorf("report address: %w", err)
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var n int
		if _, err := fmt.Fscan(strings.NewReader(lines.Text()), &n); err != nil {
			return fmt.Errorf("parse number of connections %q: %w", lines.Text(), err)
		}
		accepted, failure := 0, ""
		for accepted < n {
			if _, err := l.Accept(5 * time.Second * patience()); err != nil {
				failure = err.Error()
				break
			}
			accepted++
		}
		if err := reply.Encode(map[string]any{"accepted": accepted, "error": failure}); err != nil {
			return fmt.Errorf("report accepts: %w", err)
		}
	}
	return lines.Err()
}

// serveHTTP listens the way every net/http server does, so with MPTCP where Go
// and the kernel offer it.
func serveHTTP(addr string, in io.Reader, reply *json.Encoder) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	self := Worker{PID: os.Getpid(), Addr: l.Addr().(*net.TCPAddr).AddrPort()}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return fmt.Errorf("reach listening socket: %w", err)
	}
	if err := raw.Control(func(fd uintptr) { self.FD = int(fd) }); err != nil {
		return fmt.Errorf("read listening descriptor: %w", err)
	}
	go http.Serve(l, http.NotFoundHandler())
	if err := reply.Encode(self); err != nil {
		return fmt.Errorf("report address: %w", err)
	}
	_, err = io.Copy(io.Discard, in)
	return err
}
