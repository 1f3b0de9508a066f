// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// nobody is the user and group without any right, Debian's nobody and nogroup.
const nobody = 65534

// Result is what an exporter that ended by itself left behind.
type Result struct {
	ExitCode int
	Output   string // stdout and stderr
}

// RunExporter runs the exporter with the arguments given until it ends, which
// must be within 20 seconds.
func RunExporter(t testing.TB, args ...string) Result {
	t.Helper()
	return runToEnd(t, exec.Command(Executable(t, "TCPSLO_EXPORTER", "./exporter"), args...))
}

// RunExporterAsNobody is RunExporter as a user with no capability at all.
func RunExporterAsNobody(t testing.TB, args ...string) Result {
	t.Helper()
	// The binary may lie in a directory that only root may enter.
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatalf("make directory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("open directory to others: %v", err)
	}
	path := filepath.Join(dir, "tcpslo_exporter")
	CopyFile(t, path, Executable(t, "TCPSLO_EXPORTER", "./exporter"))
	cmd := exec.Command(path, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return runToEnd(t, cmd)
}

func runToEnd(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	p, err := startProcess(nil, cmd)
	if err != nil {
		t.Fatalf("start %q: %v", cmd.Args, err)
	}
	code, err := p.wait(20 * time.Second)
	if err != nil {
		t.Fatalf("run %q: %v\n%s", cmd.Args, err, out)
	}
	return Result{ExitCode: code, Output: out.String()}
}

// CopyFile makes an executable copy of a file.
func CopyFile(t testing.TB, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("copy: %v", err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatalf("copy: %v", err)
	}
}
