// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// NetNS is a network namespace kept by one OS thread. It ends, and the kernel
// frees it, with Close. Programs that StartWorker starts in it end with it.
type NetNS struct {
	// Inode identifies the namespace: what readlink /proc/PID/ns/net shows.
	Inode uint64

	jobs chan func()
	gone chan struct{}
}

// NewNetNS makes a namespace with its loopback interface up, and closes it when
// the test ends.
func NewNetNS(t testing.TB) *NetNS {
	t.Helper()
	ns := &NetNS{jobs: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error)
	go onOwnThread(func() {
		defer close(ns.gone)
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("unshare network namespace: %w", err)
		}
		if err == nil {
			ns.Inode, err = currentNetNS()
		}
		if err == nil {
			err = loopbackUp()
		}
		ready <- err
		if err != nil {
			return
		}
		for job := range ns.jobs {
			job()
		}
	})
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	return ns
}

// onOwnThread runs fn on a thread that ends with it, so that nothing which fn
// did to the thread survives. The runtime never ends the main thread, and
// /proc/self is that thread's view, so fn must not run there.
func onOwnThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		fn()
		return // still locked: the runtime ends the thread
	}
	// While this goroutine holds the main thread the next one gets another.
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(fn)
	}()
	<-done
	runtime.UnlockOSThread()
}

// Do runs fn inside the namespace and returns its error. fn must not start
// goroutines that are to stay inside, nor call FailNow. On a nil NetNS, which
// stands for the test process's own namespace, it just calls fn.
func (ns *NetNS) Do(fn func() error) error {
	if ns == nil {
		return fn()
	}
	result := make(chan error)
	ns.jobs <- func() { result <- fn() }
	return <-result
}

// Close ends the thread. It returns when the thread has let go of the
// namespace; sockets and processes that still use it keep it alive.
func (ns *NetNS) Close() {
	select {
	case <-ns.gone:
	default:
		close(ns.jobs)
		<-ns.gone
	}
}

// Sysctl sets a sysctl of the namespace ("net.ipv4.tcp_syncookies") and puts the
// old value back when the test ends.
func (ns *NetNS) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	var old []byte
	err := ns.Do(func() (err error) {
		if old, err = os.ReadFile(path); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(value), 0)
	})
	if err != nil {
		t.Fatalf("set sysctl %q to %q: %v", name, value, err)
	}
	t.Cleanup(func() {
		if err := ns.Do(func() error { return os.WriteFile(path, old, 0) }); err != nil {
			t.Errorf("put sysctl %q back to %q: %v", name, old, err)
		}
	})
}

// currentNetNS is the inode of the calling thread's network namespace.
func currentNetNS() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("identify network namespace: %w", err)
	}
	return st.Ino, nil
}

// loopbackUp does what "ip link set lo up" does, without a program: ioctl
// SIOCSIFFLAGS, netdevice(7).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to bring loopback up: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name the loopback interface: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("read flags of loopback: %w", err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}
