// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// mountAll mounts the file systems that a BPF test expects. One that this kernel
// lacks is reported on the console and left out: the test that needs it says more
// than PID 1 could.
func mountAll() {
	for _, m := range []struct{ fstype, target string }{
		{"devtmpfs", "/dev"},
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"tracefs", "/sys/kernel/tracing"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"securityfs", "/sys/kernel/security"},
		{"tmpfs", "/tmp"},
	} {
		// The kernel may have mounted devtmpfs by itself; that is not an error.
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			fmt.Printf("init: mount %s on %s: %v\n", m.fstype, m.target, err)
		}
	}
}

// loopbackUp sets the interface lo up. The kernel gives it 127.0.0.1/8 and ::1 by
// itself.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// raiseOpenFiles gives the test the hard limit of open files that systemd gives a
// service (DefaultLimitNOFILE of systemd 240 and later); the kernel's own is 4096.
// The limit of locked memory stays as the kernel sets it: before 5.11 BPF maps
// count towards it, and that the exporter copes with that is a thing to test.
func raiseOpenFiles() {
	limit := unix.Rlimit{Cur: 1024, Max: 524288}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		fmt.Println("init: raise the limit of open files:", err)
	}
}

// openResultPort opens the port whose other end is a file on the host: the
// virtio console on arm64, the second serial port on amd64, where kernels before
// 6.12 have no virtio console built in.
func openResultPort() (*os.File, error) {
	port, err := os.OpenFile("/dev/hvc0", os.O_WRONLY|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		port, err = os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, err
	}
	fd := int(port.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read the mode of %q: %w", port.Name(), err)
	}
	mode.Oflag &^= unix.OPOST // Or every \n becomes \r\n.
	mode.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		return nil, fmt.Errorf("set the mode of %q: %w", port.Name(), err)
	}
	return port, nil
}
