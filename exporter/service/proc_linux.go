// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// proc is where processes are read. The exporter must see the host's processes:
// in a container it needs the host's PID namespace.
const proc = "/proc"

func formatUint(n uint64) string { return strconv.FormatUint(n, 10) }

func processPath(tgid uint32, name string) string {
	return filepath.Join(proc, formatUint(uint64(tgid)), name)
}

func processExists(tgid uint32) bool {
	return unix.Kill(int(tgid), 0) != unix.ESRCH
}

// netnsOf returns the inode of a process's network namespace.
func netnsOf(process string) (uint32, error) {
	var stat unix.Stat_t
	path := filepath.Join(proc, process, "ns/net")
	if err := unix.Stat(path, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return uint32(stat.Ino), nil
}

// fileKey identifies the file that a process executes, as probes stand in it.
type fileKey struct {
	device, inode uint64 // device as the kernel writes it: major << 20 | minor
}

// fileState tells a file apart from a later one that got the same inode.
type fileState struct {
	size, modified int64
}

// executableOf finds out which file a process executes. It works across mount
// namespaces and for files that were deleted or replaced: /proc/PID/exe leads
// to the file itself.
func executableOf(tgid uint32) (*executable, error) {
	link := processPath(tgid, "exe")
	path, err := os.Readlink(link)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Stat(link, &stat); err != nil {
		return nil, fmt.Errorf("stat %s: %w", link, err)
	}
	return &executable{
		key:       fileKey{uint64(unix.Major(stat.Dev))<<20 | uint64(unix.Minor(stat.Dev)), stat.Ino},
		state:     fileState{stat.Size, stat.Mtim.Nano()},
		path:      strings.TrimSuffix(path, " (deleted)"),
		processes: map[uint32]*process{},
	}, nil
}

// factsOf reads what services are matched by.
func factsOf(tgid uint32, executable string) config.Process {
	facts := config.Process{Executable: executable}
	if line, err := os.ReadFile(processPath(tgid, "cmdline")); err == nil {
		facts.CommandLine = strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " ")
	}
	if groups, err := os.ReadFile(processPath(tgid, "cgroup")); err == nil {
		facts.Cgroup = cgroupPath(string(groups))
	}
	var stat unix.Stat_t
	if unix.Stat(processPath(tgid, ""), &stat) == nil {
		facts.UID = stat.Uid
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(facts.UID), 10)); err == nil {
		facts.User = u.Username
	}
	return facts
}

// cgroupPath takes the path of the unified hierarchy, or of the first one that
// there is, from /proc/PID/cgroup (cgroups(7)).
func cgroupPath(text string) string {
	first := ""
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "0" {
			return parts[2]
		}
		if first == "" {
			first = parts[2]
		}
	}
	return first
}

// holds tells whether a process holds a socket by a file descriptor.
func holds(tgid uint32, fd int, inode uint64) bool {
	target, err := os.Readlink(processPath(tgid, fmt.Sprintf("fd/%d", fd)))
	return err == nil && target == fmt.Sprintf("socket:[%d]", inode)
}

// socketsOf lists the sockets of a process by inode, with the descriptor of each.
func socketsOf(tgid uint32) map[uint64]int {
	directory := processPath(tgid, "fd")
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil
	}
	sockets := map[uint64]int{}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(directory, entry.Name()))
		if err != nil {
			continue
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
		if !isSocket || err != nil {
			continue
		}
		if fd, err := strconv.Atoi(entry.Name()); err == nil {
			sockets[inode] = fd
		}
	}
	return sockets
}

// holderOf finds a process that holds a socket.
func holderOf(inode uint64) (tgid uint32, fd int, found bool) {
	all, err := sockdiag.Processes(proc)
	if err != nil {
		return 0, 0, false
	}
	for _, tgid := range all {
		if fd, holds := socketsOf(tgid)[inode]; holds {
			return tgid, fd, true
		}
	}
	return 0, 0, false
}

// isGone tells an error that only says that the process has ended, or that it
// is a thread of the kernel.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
