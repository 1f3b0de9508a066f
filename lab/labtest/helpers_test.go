// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// netnsOf is the inode of the namespace of /proc/WHO, 0 if that has ended.
func netnsOf(t *testing.T, who string) uint64 {
	t.Helper()
	var st unix.Stat_t
	err := unix.Stat("/proc/"+who+"/ns/net", &st)
	if err == unix.ENOENT || err == unix.ESRCH {
		return 0
	}
	if err != nil {
		t.Fatalf("namespace of %s: %v", who, err)
	}
	return st.Ino
}

func tasks(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

func sysctl(t *testing.T, ns *NetNS, path string) string {
	t.Helper()
	var text []byte
	err := ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/sys/" + path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
