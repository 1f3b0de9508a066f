// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSocketInode_reads_nothing_but_links_to_sockets(t *testing.T) {
	for link, want := range map[string]uint32{"socket:[1]": 1, "socket:[4294967295]": 4294967295} {
		if got, ok := socketInode([]byte(link)); !ok || got != want {
			t.Errorf("%q: %d, %v", link, got, ok)
		}
	}
	for _, link := range []string{"", "socket:[", "socket:[]", "socket:[x]", "socket:[4294967296]", "socket:[99999999999999999999999]", "pipe:[1]", "socket:[1"} {
		if got, ok := socketInode([]byte(link)); ok {
			t.Errorf("%q is %d", link, got)
		}
	}
}

// procfsOf makes a procfs of processes that hold sockets.
func procfsOf(t *testing.T, links map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, target := range links {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestSocket_that_several_processes_hold_is_the_first_ones(t *testing.T) {
	procfs := procfsOf(t, map[string]string{
		"9/fd/3": "socket:[77]", "9/fd/4": "pipe:[78]", "10/fd/3": "socket:[77]", "10/fd/0": "socket:[79]", "self/fd/1": "socket:[80]",
	})
	processes, err := Processes(procfs)
	if err != nil || len(processes) != 2 || processes[0] != 9 || processes[1] != 10 {
		t.Fatalf("processes are %d, %v", processes, err)
	}
	holders, hidden := Holders(procfs, append(processes, 11), []uint32{77, 78, 79, 80, 77})
	if len(holders) != 2 || holders[77] != 9 || holders[79] != 10 || hidden {
		t.Errorf("held by %v, hidden: %v", holders, hidden)
	}
}

func TestProcess_that_cannot_be_looked_at_is_told(t *testing.T) {
	procfs := procfsOf(t, map[string]string{"9/fd/3": "socket:[77]"})
	if err := os.Mkdir(filepath.Join(procfs, "8"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(procfs, "8/fd"), nil, 0o644); err != nil { // no folder, which root can't read either
		t.Fatal(err)
	}
	holders, hidden := Holders(procfs, []uint32{8, 9}, []uint32{77})
	if holders[77] != 9 || !hidden {
		t.Errorf("held by %v, hidden: %v", holders, hidden)
	}
}
