// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// builtEnv tells the demo that it has entered its network namespace, and in
// which folder it has built what it needs.
const builtEnv = "TCPSLO_DEMO_BUILT"

// buildAndEnter builds while the machine's own network is still there, then
// becomes a new process image in a namespace without one.
func buildAndEnter(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to load BPF programs and to make a network namespace (run: sudo make demo)")
	}
	say := newSteps(out)
	fmt.Fprintf(out, "\n%s\n\n", styleOf(out).bold("tcpslo demo: two Go services that know nothing of it, and what their kernel tells"))
	fmt.Fprintln(out, "  … building; the first time takes a minute")
	dir, err := os.MkdirTemp("", "tcpslo-demo")
	if err != nil {
		return err
	}
	if err := build(ctx, dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	say.done("built the exporter and the services")

	self, err := os.Executable()
	if err == nil {
		// The namespace belongs to the thread; execve() makes it the whole process's.
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			err = syscall.Exec(self, os.Args, append(os.Environ(), builtEnv+"="+dir))
		}
	}
	return errors.Join(fmt.Errorf("enter a network namespace: %w", err), os.RemoveAll(dir))
}

func build(ctx context.Context, dir string) error {
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	for name, pkg := range map[string]string{"tcpslo_exporter": "./exporter", busyService: "./lab/server"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = filepath.Dir(strings.TrimSpace(string(gomod)))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, output)
		}
	}
	// A copy, not a link: what is one file to the kernel is one executable.
	program, err := os.ReadFile(filepath.Join(dir, busyService))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stuckService), program, 0o755)
}

// bringUpLoopback switches on lo, which is down in a new namespace.
func bringUpLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}
