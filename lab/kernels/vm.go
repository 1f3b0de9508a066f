// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is how every virtual machine is set up.
type machine struct {
	accel    string // QEMU's -accel
	memory   int    // MiB
	cpus     int
	timeout  time.Duration // of one virtual machine, from start to power off
	keepLogs string        // folder that console logs are kept in; "" for none
}

// defaultAccel emulates the CPUs in one thread. Several threads (QEMU 7.2, kernel
// 7.0) let the guest crash in trace_syscall_enter in 3 of 32 boots while probes
// were being attached, one thread in 0 of 43, at the same speed. KVM is never
// chosen because /dev/kvm is there: nested flavours of it open and then hang.
const defaultAccel = "tcg,thread=single"

// qemu returns the program that emulates arch.
func qemu(arch string) string {
	return map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[arch]
}

// kernelOptions are given to every kernel: reboot at once on a panic, which ends
// QEMU; treat an oops as a panic, or it would look like a test that was killed;
// lsm=bpf, without which 5.10 refuses BPF LSM programs. Address randomisation,
// CPU mitigations and audit only cost time here.
const kernelOptions = "panic=-1 oops=panic lsm=bpf nokaslr mitigations=off audit=0"

// args returns the arguments of QEMU. console and result are files that the
// machine's two ports are written to: files, since QEMU drops what a full pipe
// does not take.
func (m machine) args(arch, image, initrd, console, result string) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", m.accel, "-smp", strconv.Itoa(m.cpus), "-m", strconv.Itoa(m.memory),
		"-kernel", image, "-initrd", initrd, "-serial", "file:" + escapeComma(console),
	}
	if arch == "arm64" {
		// The machine "virt" has one serial port only. The emulation of the
		// architecture's own pointer authentication cipher is slow.
		cpu := "max,pauth-impdef=on"
		if strings.HasPrefix(m.accel, "kvm") {
			cpu = "host"
		}
		return append(args, "-machine", "virt,gic-version=max", "-cpu", cpu,
			"-device", "virtio-serial-pci", "-chardev", "file,id=result,path="+escapeComma(result), "-device", "virtconsole,chardev=result",
			"-append", "console=ttyAMA0 "+kernelOptions)
	}
	return append(args, "-machine", "q35", "-cpu", "max", "-serial", "file:"+escapeComma(result),
		"-append", "console=ttyS0,115200 tsc=unstable random.trust_cpu=on "+kernelOptions)
}

// escapeComma doubles commas, which separate QEMU's options.
func escapeComma(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// boot runs one virtual machine until it powers off and copies what its test
// prints to out while it runs. The result is never an error of the runner's own:
// whatever goes wrong is a verdict about this machine.
func (m machine) boot(ctx context.Context, j job, r record, image, initrd, dir string, out io.Writer) result {
	console, port := filepath.Join(dir, "console.log"), filepath.Join(dir, "result.log")
	if m.keepLogs != "" {
		console = filepath.Join(m.keepLogs, strings.ReplaceAll(j.label(), " ", "-")+".console.log")
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()

	cmd := exec.CommandContext(ctx, qemu(j.arch), m.args(j.arch, image, initrd, console, port)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	collected := newOutcomeReader(out)
	// An older log must not be taken for this machine's.
	err := errors.Join(os.WriteFile(console, nil, 0o644), os.WriteFile(port, nil, 0o644))
	if err == nil {
		err = runFollowing(cmd, cancel, port, collected)
	}

	res := result{kernel: j.name, suite: j.suite, release: r.Release, wall: time.Since(start)}
	outcome, ok := collected.outcome()
	switch {
	case ok && outcome.Error != "":
		res.verdict, res.detail = notStarted, "the guest could not start the test: "+outcome.Error
	case ok && outcome.Code == 0:
		res.verdict = passed
	case ok:
		res.verdict, res.code = failed, outcome.Code
	default:
		log, readErr := os.ReadFile(console)
		res.verdict = diagnose(ctx, err, string(log))
		res.detail = tail(string(log), 40) + "\n" + tail(stderr.String(), 40) + "\n"
		if err = errors.Join(err, readErr); err != nil {
			res.detail += fmt.Sprintf("%s: %v", qemu(j.arch), err)
		}
		res.detail = strings.TrimSpace(res.detail)
	}
	if ok && outcome.Release != "" {
		res.release = outcome.Release
	}
	return res
}

// diagnose tells why a machine ended without an outcome.
func diagnose(ctx context.Context, err error, console string) verdict {
	switch {
	case strings.Contains(console, "Kernel panic - not syncing"):
		return panicked
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timedOut
	case ctx.Err() != nil:
		return interrupted
	case err != nil && console == "":
		return notStarted
	default:
		return noOutcome
	}
}

// runFollowing runs cmd, which cancel ends, and copies to w what is appended to
// the file named log meanwhile.
func runFollowing(cmd *exec.Cmd, cancel context.CancelFunc, log string, w io.Writer) error {
	file, err := os.Open(log)
	if err != nil {
		return err
	}
	defer file.Close()
	ended := make(chan error, 1)
	go func() {
		// The kernel ends QEMU when the thread that started it ends, even if this
		// program is killed. A thread of the Go scheduler may end early: this one is
		// held until QEMU has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		ended <- cmd.Run()
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			_, copyErr := io.Copy(w, file) // The rest, now that no more can come.
			return errors.Join(err, copyErr)
		case <-tick.C:
			if _, err := io.Copy(w, file); err != nil {
				cancel() // What nobody can read need not run on.
				return errors.Join(err, <-ended)
			}
		}
	}
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
