// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// isolatedEnv marks the process that already lives in a namespace of its own.
const isolatedEnv = "TCPSLO_LABTEST_ISOLATED"

// Main runs the tests of m and returns the exit code for os.Exit. Run as root it
// does so in a child process with a network namespace of its own: ports,
// TcpExt counters and sysctls of the namespace then belong to the tests alone,
// whatever else runs on the machine. Without root the tests run where they are,
// and those that need root skip themselves.
//
// When the process was started by StartWorker, Main plays that server instead.
func Main(m *testing.M) int {
	if spec, isWorker := os.LookupEnv(workerEnv); isWorker {
		return runWorker(spec)
	}
	if os.Geteuid() == 0 && os.Getenv(isolatedEnv) == "" {
		return isolate()
	}
	if os.Getenv(isolatedEnv) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "labtest:", err)
			return 1
		}
	}
	code := m.Run()
	removeBuilds()
	return code
}

// isolate runs this very program again, with the same arguments, in a new
// network namespace. A namespace for the whole process, and not for a thread,
// is what a container has, so the exporter meets the usual case.
func isolate() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "labtest: find own executable:", err)
		return 1
	}
	// Pdeathsig follows the thread that forks, so that thread must stay.
	runtime.LockOSThread()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolatedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "labtest: run tests in a network namespace:", err)
		return 1
	}
}
