// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

func TestSockets_of_this_process_are_found_with_their_owner(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	inode := uint32(info.Sys().(*syscall.Stat_t).Ino)
	found := 0
	if err := listSockets(func(s *sockdiag.Socket) {
		if s.State == sockdiag.Listen && s.Inode == inode {
			found++
			if s.Local.AddrPort().String() != l.Addr().String() || s.Queue != 0 || s.Limit == 0 {
				t.Errorf("%s is %+v", l.Addr(), *s)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if found != 1 {
		t.Errorf("found %d times", found)
	}
	// An error tells of other users' processes, and is not about this one.
	owners, _ := FindOwners("/proc", []uint32{inode}, BaseName)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if want := (Owner{uint32(os.Getpid()), filepath.Base(executable)}); owners[inode] != want {
		t.Errorf("it is %+v, want %+v", owners[inode], want)
	}
}

func TestBaseName_is_the_name_of_a_file_that_was_replaced_too(t *testing.T) {
	if got := BaseName("/usr/bin/shop (deleted)"); got != "shop" {
		t.Errorf("got %q", got)
	}
}
