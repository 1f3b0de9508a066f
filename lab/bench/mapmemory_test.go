// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

func TestA_map_held_by_two_descriptors_counts_once(t *testing.T) {
	testenv.NeedRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4096, MaxEntries: 256})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	second, err := m.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	got, err := mapMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The values alone take 1 MiB; the kernel adds a header and rounds to pages.
	if got < 1<<20 || got > 1<<20+64<<10 {
		t.Errorf("%d bytes for a map of %d", got, 1<<20)
	}
}
