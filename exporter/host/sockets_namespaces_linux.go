// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// Capabilities lists what the collectors of a plan need beside what the exporter
// has anyway: CAP_SYS_ADMIN to enter network namespaces (netns_install(),
// net/core/net_namespace.c).
func (p Plan) Capabilities() []int {
	for _, one := range p {
		if options, ok := one.Options.(*SocketsOptions); ok && options.Namespaces == allNamespaces {
			return []int{unix.CAP_SYS_ADMIN}
		}
	}
	return nil
}

// threadNetns is the inode of the calling thread's network namespace.
func threadNetns(procfs string) (uint32, error) {
	return netnsInode(filepath.Join(procfs, "thread-self/ns/net"))
}

func netnsInode(file string) (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Stat(file, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", file, err)
	}
	return uint32(stat.Ino), nil
}

// processNetns is where a process's namespace can be opened.
func processNetns(procfs string, tgid uint32) string {
	return filepath.Join(procfs, strconv.FormatUint(uint64(tgid), 10), "ns/net")
}

// netnsProcesses lists the processes in each network namespace that has one.
func netnsProcesses(procfs string) (map[uint32][]uint32, error) {
	processes, err := sockdiag.Processes(procfs)
	if err != nil {
		return nil, err
	}
	all := map[uint32][]uint32{}
	for _, tgid := range processes {
		inode, err := netnsInode(processNetns(procfs, tgid))
		if err != nil {
			continue // has ended since
		}
		all[inode] = append(all[inode], tgid)
	}
	return all, nil
}

// forEachNamespace calls do for every network namespace that a process lives in, on
// a thread that is in it. The namespaces are not kept: that would keep alive those
// that have lost their last process.
func (s *sockets) forEachNamespace(do func(inode uint32) error) (errs []error) {
	onThrowawayThread(func() {
		procfs := s.environment.Procfs
		own, err := threadNetns(procfs)
		if err != nil {
			errs = append(errs, err)
			return
		}
		errs = append(errs, do(own))
		all, err := netnsProcesses(procfs)
		if err != nil {
			errs = append(errs, err)
			return
		}
		delete(all, own)
		for inode, processes := range all {
			switch err := enterNetns(procfs, inode, processes); {
			case errors.Is(err, errNetnsGone):
			case err != nil:
				errs = append(errs, err)
			default:
				errs = append(errs, do(inode))
			}
		}
	})
	return errs
}

// errNetnsGone says that the last process has left a namespace.
var errNetnsGone = errors.New("network namespace has gone")

// enterNetns moves the calling thread into a namespace that one of the processes is
// still in.
func enterNetns(procfs string, inode uint32, processes []uint32) error {
	for _, tgid := range processes {
		fd, err := unix.Open(processNetns(procfs, tgid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // has ended
		}
		var stat unix.Stat_t
		err = unix.Fstat(fd, &stat)
		if err != nil || uint32(stat.Ino) != inode { // went elsewhere, or another process has its number
			unix.Close(fd)
			continue
		}
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		unix.Close(fd)
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (needs CAP_SYS_ADMIN, which the exporter keeps if it starts with namespaces: all)", err)
		}
		if err != nil {
			return fmt.Errorf("enter network namespace %d: %w", inode, err)
		}
		return nil
	}
	return errNetnsGone
}

// onThrowawayThread runs do on a thread that ends with it, so that nobody gets a
// thread that is in another namespace. The main thread can't end (the runtime parks
// it), and /proc/self shows what that one sees, so do never runs on it.
func onThrowawayThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThrowawayThread(do) // while this goroutine holds the main thread, that one gets another
			runtime.UnlockOSThread()
			return
		}
		do() // still locked at the end: the runtime ends the thread
	}()
	<-done
}
