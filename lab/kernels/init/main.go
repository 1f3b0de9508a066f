// SPDX-License-Identifier: Apache-2.0

// Command init is PID 1 of the virtual machines of the kernel matrix. It mounts
// what a Linux system has mounted, runs one test and powers the machine off. It
// is built statically and is, with the test, all there is in the initramfs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/lab/kernels/internal/guest"
)

func main() {
	mountAll()
	if err := loopbackUp(); err != nil {
		fmt.Println("init: set lo up:", err)
	}
	raiseOpenFiles()

	// Without the result port nothing can be reported. Powering off without an
	// outcome is what tells the host so; the reason is on the console.
	port, err := openResultPort()
	if err != nil {
		fmt.Println("init: open the result port:", err)
		powerOff()
	}
	report(port, runJob(port))
	powerOff()
}

// runJob runs the test with its output on port and returns how it ended.
func runJob(port *os.File) guest.Outcome {
	outcome := guest.Outcome{Code: 125, Release: release()}
	var job guest.Job
	text, err := os.ReadFile(guest.JobPath)
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	if err != nil {
		outcome.Error = err.Error()
		return outcome
	}

	cmd := exec.Command(guest.TestPath, job.Args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"HOME=/tmp", "PATH=/bin:/sbin:/usr/bin:/usr/sbin", "TMPDIR=/tmp", "USER=root"}, job.Env...)
	cmd.Stdout, cmd.Stderr = port, port
	start := time.Now()
	if err := cmd.Start(); err != nil {
		outcome.Error = err.Error()
		return outcome
	}
	outcome.Code = reapUntil(cmd.Process.Pid)
	outcome.Seconds = time.Since(start).Seconds()

	// Whatever the test left running could write behind the outcome. From PID 1,
	// the signal reaches every process but PID 1 itself.
	_ = unix.Kill(-1, unix.SIGKILL)
	return outcome
}

// reapUntil waits until the process pid has ended and returns its exit code, or
// 128 plus the signal that ended it. It reaps orphans meanwhile, as PID 1 must:
// a test that waits for a grandchild to vanish would otherwise wait for a zombie.
func reapUntil(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			fmt.Println("init: wait for the test:", err)
			return 125
		case got != pid:
		case status.Signaled():
			return 128 + int(status.Signal())
		case status.Exited():
			return status.ExitStatus()
		}
	}
}

// report writes the outcome to port and waits until the port has sent it.
func report(port *os.File, outcome guest.Outcome) {
	text, err := json.Marshal(outcome)
	if err != nil {
		fmt.Println("init: encode the outcome:", err)
		return
	}
	if _, err := fmt.Fprintf(port, "%c%s\n", guest.OutcomeMark, text); err != nil {
		fmt.Println("init: write the outcome:", err)
	}
	// TCSBRK with a non-zero argument is tcdrain(3): the tail would be lost if the
	// power went off while it is still in the port's buffer.
	_ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1)
}

// release returns the running kernel's release, or "" if uname(2) fails.
func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// powerOff ends the virtual machine and never returns.
func powerOff() {
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	panic(fmt.Sprintf("power off: %v", err)) // PID 1 that ends is a kernel panic, which ends QEMU too.
}
