// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

// Options say how to run the exporter.
type Options struct {
	Config string   // text of tcpslo.yml; empty runs without a configuration file
	Flags  []string // more flags of "run"
}

// Exporter is a running exporter. Its namespace is the test process's own.
type Exporter struct {
	PID        int
	URL        string // "http://127.0.0.1:PORT"
	Addr       string // "127.0.0.1:PORT"
	ConfigFile string // path of tcpslo.yml, "" without

	t       testing.TB
	process *process
	log     *lockedBuffer
	client  *http.Client
}

// StartExporter runs the exporter until the test ends and returns when GET
// /readyz answers 200, which must take at most 10 seconds. At the end it gets
// SIGTERM and must exit with code 0 within 5 seconds. Its log is printed when
// the test failed.
func StartExporter(t testing.TB, opts Options) *Exporter {
	t.Helper()
	addr, err := child.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	e := &Exporter{t: t, Addr: addr, URL: "http://" + addr, log: &lockedBuffer{}}
	// Without keep-alive a scrape leaves no socket behind in the exporter, so
	// that its open files can be counted.
	e.client = &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}
	args := []string{"run", "--web.listen-address=" + e.Addr}
	if config := withoutCollectors(opts.Config); config != "" {
		e.ConfigFile = filepath.Join(t.TempDir(), "tcpslo.yml")
		e.WriteConfig(opts.Config)
		args = append(args, "--config.file="+e.ConfigFile)
	}
	if prefer := os.Getenv("TCPSLO_VARIANTS"); prefer != "" {
		args = append(args, "--probe.prefer="+prefer)
	}
	cmd := exec.Command(Executable(t, "TCPSLO_EXPORTER", "./exporter"), append(args, opts.Flags...)...)
	cmd.Stdout, cmd.Stderr = e.log, e.log
	p, err := startProcess(nil, cmd)
	if err != nil {
		t.Fatalf("start exporter: %v", err)
	}
	e.process, e.PID = p, cmd.Process.Pid
	t.Cleanup(e.finish)
	e.waitReady()
	return e
}

// withoutCollectors adds to a configuration that says nothing of collectors that
// those named in TCPSLO_COLLECTORS_OFF are off.
func withoutCollectors(config string) string {
	off := os.Getenv("TCPSLO_COLLECTORS_OFF")
	if off == "" || strings.Contains(config, "collectors:") {
		return config
	}
	return config + "\ncollectors: {" + strings.ReplaceAll(off, ",", ": false, ") + ": false}\n"
}

// waitReady waits until the exporter serves. What it waits for itself is mostly the
// kernel's: grace periods, and locks that the end of the exporter before it may still
// hold. One that takes long says where: its threads' stacks in the kernel and, on
// SIGQUIT at the end, its goroutines go into the log that finish shows.
func (e *Exporter) waitReady() {
	e.t.Helper()
	const limit = 30 * time.Second
	late := time.AfterFunc(limit/3*patience(), func() {
		text := fmt.Sprintf("not ready after %s; its threads in the kernel:\n%s", limit/3*patience(), kernelStacks(e.PID))
		fmt.Fprint(e.log, text)
		fmt.Fprint(os.Stderr, text)
	})
	defer late.Stop()
	ready := false
	defer func() {
		if !ready {
			e.process.stop(syscall.SIGQUIT, 5*time.Second)
		}
	}()
	EventuallyWithin(e.t, limit, func() error {
		if !e.process.running() {
			e.t.Fatalf("exporter ended before it was ready: %s", e.process.cmd.ProcessState)
		}
		a, err := e.do(http.MethodGet, "/readyz", "")
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("/readyz answered %d", a.status)
		}
		return err
	})
	ready = true
}

// kernelStacks tells what each thread of a process does in the kernel, proc(5).
func kernelStacks(pid int) string {
	var text strings.Builder
	stacks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", pid))
	for _, path := range stacks {
		stack, err := os.ReadFile(path)
		if err != nil {
			stack = []byte(err.Error() + "\n")
		}
		fmt.Fprintf(&text, "%s\n%s", path, stack)
	}
	return text.String()
}

// finish is the cleanup: a clean end is part of every test.
func (e *Exporter) finish() {
	if e.process.running() {
		if code, err := e.Stop(); err != nil || code != 0 {
			e.t.Errorf("after SIGTERM the exporter exited with code %d (%v), want 0", code, err)
		}
	}
	if e.t.Failed() {
		e.t.Logf("log of the exporter:\n%s", e.log)
	}
}

// Stop sends SIGTERM and returns the exit code; it is an error if the exporter
// is still there after 5 seconds.
func (e *Exporter) Stop() (code int, err error) {
	return e.process.stop(syscall.SIGTERM, 5*time.Second)
}

// WriteConfig replaces the text of the configuration file; see Reload.
func (e *Exporter) WriteConfig(text string) {
	e.t.Helper()
	if err := os.WriteFile(e.ConfigFile, []byte(withoutCollectors(text)), 0o644); err != nil {
		e.t.Fatalf("write configuration: %v", err)
	}
}

// Reload sends SIGHUP.
func (e *Exporter) Reload() {
	e.t.Helper()
	if err := e.process.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		e.t.Fatalf("send SIGHUP: %v", err)
	}
}

// Log is what the exporter has written so far to stdout and stderr.
func (e *Exporter) Log() string { return e.log.String() }

// OpenFiles counts the exporter's open file descriptors by kind.
func (e *Exporter) OpenFiles() map[string]int {
	e.t.Helper()
	files, err := OpenFiles(e.PID)
	if err != nil {
		e.t.Fatal(err)
	}
	return files
}

// Post sends an empty POST and returns the status code and the body.
func (e *Exporter) Post(path string) (status int, body string) {
	e.t.Helper()
	a, err := e.do(http.MethodPost, path, "")
	if err != nil {
		e.t.Fatal(err)
	}
	return a.status, string(a.body)
}

// Get returns the status code and the body of a path.
func (e *Exporter) Get(path string) (status int, body string) {
	e.t.Helper()
	a, err := e.do(http.MethodGet, path, "")
	if err != nil {
		e.t.Fatal(err)
	}
	return a.status, string(a.body)
}

// answer is what a request brought back.
type answer struct {
	status      int
	contentType string
	body        []byte
}

func (e *Exporter) do(method, path, accept string) (answer, error) {
	req, err := http.NewRequest(method, e.URL+path, nil)
	if err != nil {
		return answer{}, fmt.Errorf("make request: %w", err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read answer to %s %s: %w", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), body}, nil
}
