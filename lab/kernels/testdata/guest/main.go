// SPDX-License-Identifier: Apache-2.0

// Command guest is the payload of this package's own tests: its first argument
// says what it does in the virtual machine.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// report is what the mode "report" prints, for the test to compare.
type report struct {
	Args   []string
	Kernel string
	Extra  string // the variable EXTRA
	File   string // content of /opt/data/file
	Mode   uint32 // permissions of /opt/data/file
	Mounts string // /proc/mounts
	Err    string // what did not work: the file, /proc, loopback, the temporary folder
}

func main() {
	switch os.Args[1] {
	case "report":
		if err := json.NewEncoder(os.Stdout).Encode(look()); err != nil {
			fail(err)
		}
		fmt.Print("no line feed at the end")
		os.Exit(7)
	case "panic":
		fmt.Println("about to crash the kernel")
		fail(os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
	case "orphan":
		// The shell-less way to leave a process behind that keeps on printing.
		child := exec.Command("/proc/self/exe", "chatter")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			fail(err)
		}
		for {
			if _, err := os.Stat("/tmp/chatter"); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	case "chatter":
		for {
			fmt.Println("chatter")
			if err := os.WriteFile("/tmp/chatter", nil, 0o600); err != nil {
				fail(err)
			}
			time.Sleep(time.Millisecond)
		}
	case "kill":
		fail(syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
}

func look() report {
	content, fileErr := os.ReadFile("/opt/data/file")
	info, statErr := os.Stat("/opt/data/file")
	mounts, mountsErr := os.ReadFile("/proc/mounts")
	r := report{
		Args: os.Args[1:], Kernel: os.Getenv("TCPSLO_KERNEL"), Extra: os.Getenv("EXTRA"),
		File: string(content), Mounts: string(mounts),
	}
	if info != nil {
		r.Mode = uint32(info.Mode().Perm())
	}
	if err := errors.Join(fileErr, statErr, mountsErr, loopback(), os.WriteFile(os.TempDir()+"/t", nil, 0o600)); err != nil {
		r.Err = err.Error()
	}
	return r
}

// loopback connects to itself by a name that only /etc/hosts knows.
func loopback() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp4", "localhost:"+port, 10*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "guest:", err)
	os.Exit(1)
}
