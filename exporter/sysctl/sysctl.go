// SPDX-License-Identifier: Apache-2.0

// Package sysctl reads kernel parameters from procfs.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Names are the parameters that decide how connections to a Go web service
// queue, wait, time out and are dropped; the collector exports them, and the
// built-in audit rules judge no other. One that a kernel or a namespace doesn't
// have is simply not there.
var Names = []string{
	"fs.file-max",
	"fs.nr_open",
	"net.core.busy_poll",
	"net.core.busy_read",
	"net.core.dev_weight",
	"net.core.netdev_budget",
	"net.core.netdev_budget_usecs",
	"net.core.netdev_max_backlog",
	"net.core.rmem_default",
	"net.core.rmem_max",
	"net.core.somaxconn",
	"net.core.wmem_default",
	"net.core.wmem_max",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.tcp_abort_on_overflow",
	"net.ipv4.tcp_fastopen",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_max_orphans",
	"net.ipv4.tcp_max_syn_backlog",
	"net.ipv4.tcp_max_tw_buckets",
	"net.ipv4.tcp_mem",
	"net.ipv4.tcp_migrate_req",
	"net.ipv4.tcp_moderate_rcvbuf",
	"net.ipv4.tcp_notsent_lowat",
	"net.ipv4.tcp_retries2",
	"net.ipv4.tcp_rmem",
	"net.ipv4.tcp_slow_start_after_idle",
	"net.ipv4.tcp_syn_retries",
	"net.ipv4.tcp_synack_retries",
	"net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_timestamps",
	"net.ipv4.tcp_tw_reuse",
	"net.ipv4.tcp_tw_reuse_delay",
	"net.ipv4.tcp_window_scaling",
	"net.ipv4.tcp_wmem",
	"net.mptcp.enabled",
	"net.netfilter.nf_conntrack_count",
	"net.netfilter.nf_conntrack_max",
}

// name is a parameter as sysctl(8) writes it, with the index of one of several
// values behind it.
var name = regexp.MustCompile(`^([a-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)+)(?:\[([0-9]{1,2})\])?$`)

// Valid tells whether a text is the name of a parameter, or of one of its
// values: "net.ipv4.tcp_rmem[2]".
func Valid(text string) bool { return name.MatchString(text) }

// Base takes the index off a name.
func Base(text string) string {
	base, _, _ := strings.Cut(text, "[")
	return base
}

// Read returns the values of a parameter below a procfs ("/proc"); most have
// one. A parameter that isn't there is an fs.ErrNotExist. The values of the
// network ones are those of the caller's network namespace.
func Read(procfs, parameter string) ([]float64, error) {
	text, err := os.ReadFile(filepath.Join(procfs, "sys", strings.ReplaceAll(parameter, ".", "/")))
	if errors.Is(err, fs.ErrNotExist) {
		// The path would say nothing more.
		return nil, fmt.Errorf("sysctl %q is not on this kernel or not in this namespace: %w", parameter, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read sysctl %q: %w", parameter, err)
	}
	var values []float64
	for _, field := range strings.Fields(string(text)) {
		value, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, fmt.Errorf("sysctl %q is no number: %q", parameter, field)
		}
		values = append(values, value)
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("sysctl %q is empty", parameter)
	}
	return values, nil
}

// Value returns one value by the name that it has in metrics and rules: with an
// index, from 0, where the parameter has several values, else without.
func Value(procfs, text string) (float64, error) {
	parts := name.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is no name of a sysctl", text)
	}
	values, err := Read(procfs, parts[1])
	if err != nil {
		return 0, err
	}
	index := 0
	switch {
	case parts[2] != "":
		index, _ = strconv.Atoi(parts[2]) // two digits at most
	case len(values) > 1:
		return 0, fmt.Errorf("sysctl %q has %d values, say which: %[1]s[0]", parts[1], len(values))
	}
	if index >= len(values) {
		return 0, fmt.Errorf("sysctl %q has %d values, there is no %q", parts[1], len(values), text)
	}
	return values[index], nil
}
