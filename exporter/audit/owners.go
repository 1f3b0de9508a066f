// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// BaseName is the name of a service that tcpslo.yml doesn't name.
func BaseName(executable string) string {
	return filepath.Base(strings.TrimSuffix(executable, " (deleted)")) // replaced while it runs
}

// FindOwners looks for the processes that hold sockets; name makes a service's
// name of the path of an executable. A socket that was inherited is the process's
// with the lowest number, as a rule the parent. Processes of other users can't be
// looked at without CAP_SYS_PTRACE: if there were some, the error says so, and the
// result has the others.
func FindOwners(procfs string, inodes []uint32, name func(executable string) string) (map[uint32]Owner, error) {
	processes, err := sockdiag.Processes(procfs)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	holders, hidden := sockdiag.Holders(procfs, processes, inodes)
	owners := map[uint32]Owner{}
	for inode, pid := range holders {
		if executable, err := os.Readlink(filepath.Join(procfs, strconv.FormatUint(uint64(pid), 10), "exe")); err == nil {
			owners[inode] = Owner{pid, name(executable)}
		}
	}
	if hidden {
		return owners, errHidden
	}
	return owners, nil
}

var errHidden = errors.New("processes of other users can't be looked at: run as root or name a running exporter")
