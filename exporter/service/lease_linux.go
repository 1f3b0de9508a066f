// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errChanged is returned for a file that is another one by now.
var errChanged = errors.New("the file has changed")

// lease makes whoever opens the file for writing wait until release is called
// (fcntl(2), F_SETLEASE; the kernel waits /proc/sys/fs/lease-break-time, 45 s, at
// most) and tells it by SIGIO. It fails if the file is open for writing, if it
// is not what it was, or without CAP_LEASE for a file of another user.
//
// While a process executes a file nobody can write to it (ETXTBSY). A probe
// that stays in the file after that would hit an instruction that it was not
// made for in whatever is written there.
func lease(file *os.File, want fileState) error {
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		release(file)
		return err
	}
	if (fileState{stat.Size, stat.Mtim.Nano()}) != want {
		release(file)
		return errChanged
	}
	return nil
}

// release gives a lease back.
func release(file *os.File) {
	// Without a lease there is nothing to give back.
	_, _ = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
}

// wanted tells whether somebody waits for a lease to be given back.
func wanted(file *os.File) bool {
	kind, err := unix.FcntlInt(file.Fd(), unix.F_GETLEASE, 0)
	return err != nil || kind != unix.F_RDLCK
}
