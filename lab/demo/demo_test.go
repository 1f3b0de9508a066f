// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// demo builds the demo and returns a command that runs it with a temporary
// folder of its own.
func demo(t *testing.T) (cmd *exec.Cmd, temp string) {
	t.Helper()
	testenv.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	temp = t.TempDir()
	cmd = exec.Command(path)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	return cmd, temp
}

// wantNothingLeft looks for processes that execute a file of the folder, and
// for files in it.
func wantNothingLeft(t *testing.T, temp string) {
	t.Helper()
	if n := running(temp); n > 0 {
		t.Errorf("%d processes still run", n)
	}
	left, err := filepath.Glob(filepath.Join(temp, "tcpslo-demo*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("these files are left: %q", left)
	}
}

func TestDemo(t *testing.T) {
	t.Run("shows counts that agree with the client and the kernel and leaves nothing behind", func(t *testing.T) {
		cmd, temp := demo(t)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		// 4 shoppers × 600 purchases × 2 readings.
		if !bytes.Contains(out, []byte("4,800  4,800 ✓")) || bytes.Contains(out, []byte("✗")) {
			t.Errorf("the table is not as expected:\n%s", out)
		}
		wantNothingLeft(t, temp)
	})
	t.Run("ends everything on Ctrl-C", func(t *testing.T) {
		cmd, temp := demo(t)
		output := &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for running(temp) < 3 { // both services and the exporter
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v\n%s", err, output)
			case <-time.After(100 * time.Millisecond):
			}
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := <-ended; !errors.As(err, &exit) || exit.ExitCode() != 130 {
			t.Errorf("it ended with %v, want exit code 130\n%s", err, output)
		}
		wantNothingLeft(t, temp)
	})
}

// running counts the processes that execute a file of the folder.
func running(temp string) int {
	n := 0
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && strings.HasPrefix(path, temp) {
			n++
		}
	}
	return n
}
