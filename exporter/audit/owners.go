// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// BaseName is the name of a service that tcpslo.yml doesn't name.
func BaseName(executable string) string {
	return filepath.Base(strings.TrimSuffix(executable, " (deleted)")) // replaced while it runs
}

// FindOwners looks through the open files of all processes (/proc/PID/fd) for
// sockets; name makes a service's name of the path of an executable. Processes
// of other users can't be looked at without CAP_SYS_PTRACE: if there are some, the
// error says so, and the result has the others.
func FindOwners(procfs string, inodes []uint32, name func(executable string) string) (map[uint32]Owner, error) {
	wanted := map[string]uint32{}
	for _, inode := range inodes {
		wanted[fmt.Sprintf("socket:[%d]", inode)] = inode
	}
	owners := map[uint32]Owner{}
	var hidden error
	processes, err := os.ReadDir(procfs)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, process := range processes {
		pid, err := strconv.ParseUint(process.Name(), 10, 32)
		if err != nil {
			continue
		}
		folder := filepath.Join(procfs, process.Name())
		files, err := os.ReadDir(filepath.Join(folder, "fd"))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // gone meanwhile
				hidden = errHidden
			}
			continue
		}
		for _, file := range files {
			target, err := os.Readlink(filepath.Join(folder, "fd", file.Name()))
			inode, ok := wanted[target]
			if err != nil || !ok {
				continue
			}
			if _, known := owners[inode]; known {
				continue // inherited: the parent, which has the lower number, as a rule
			}
			if executable, err := os.Readlink(filepath.Join(folder, "exe")); err == nil {
				owners[inode] = Owner{uint32(pid), name(executable)}
			}
		}
	}
	return owners, hidden
}

var errHidden = errors.New("processes of other users can't be looked at: run as root or name a running exporter")
