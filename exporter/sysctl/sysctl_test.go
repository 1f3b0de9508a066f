// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestValue_takes_the_one_value_or_the_one_that_is_named(t *testing.T) {
	procfs := write(t, map[string]string{
		"net/core/somaxconn":                "4096\n",
		"net/ipv4/tcp_rmem":                 "4096\t131072\t6291456\n",
		"net/ipv4/tcp_adv_win_scale":        "-2\n",
		"net/ipv4/tcp_congestion_control":   "cubic\n",
		"net/ipv4/ip_local_reserved_ports":  "\n",
		"net/ipv4/conf/eth0-1/tcp_whatever": "18446744073709551615\n",
	})
	for name, want := range map[string]float64{
		"net.core.somaxconn":                4096,
		"net.core.somaxconn[0]":             4096,
		"net.ipv4.tcp_rmem[0]":              4096,
		"net.ipv4.tcp_rmem[2]":              6291456,
		"net.ipv4.tcp_adv_win_scale":        -2,
		"net.ipv4.conf.eth0-1.tcp_whatever": 1 << 64,
	} {
		if got, err := Value(procfs, name); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"net.core.somaxcon":                `sysctl "net.core.somaxcon" is not on this kernel or not in this namespace`,
		"net.ipv4.tcp_rmem":                `has 3 values, say which: net.ipv4.tcp_rmem[0]`,
		"net.ipv4.tcp_rmem[3]":             `there is no "net.ipv4.tcp_rmem[3]"`,
		"net.ipv4.tcp_congestion_control":  `is no number: "cubic"`,
		"net.ipv4.ip_local_reserved_ports": `is empty`,
		"net.core":                         `read sysctl "net.core"`,
		"../../etc/passwd":                 `"../../etc/passwd" is no name of a sysctl`,
		"net..core":                        `is no name of a sysctl`,
		"net.core.somaxconn[-1]":           `is no name of a sysctl`,
	} {
		if _, err := Value(procfs, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, err := Value(procfs, "net.core.somaxcon"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a sysctl that is not there: %v", err)
	}
}

func TestNames_are_valid_sorted_and_each_once(t *testing.T) {
	if !slices.IsSorted(Names) || len(slices.Compact(slices.Clone(Names))) != len(Names) {
		t.Error("not sorted, or one twice")
	}
	for _, name := range Names {
		if !Valid(name) || Base(name) != name {
			t.Errorf("%q is no name", name)
		}
	}
}
