// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// processorTime is the time that the threads of a process have spent on a
// processor, to the nanosecond (/proc/PID/task/TID/schedstat, kernel/sched/stats.c;
// /proc/PID/stat counts in steps of 10 ms). Threads that have ended are missing; a Go
// process ends hardly any.
func processorTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			if gone(err) {
				continue
			}
			return 0, err
		}
		spent, _, _ := strings.Cut(string(content), " ")
		nanoseconds, err := strconv.ParseInt(spent, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		total += time.Duration(nanoseconds)
	}
	if total == 0 {
		return 0, fmt.Errorf("process %d has no schedstat (CONFIG_SCHED_INFO), or has ended", pid)
	}
	return total, nil
}

// gone tells that a thread or a descriptor has ended since it was listed; reading
// an ended thread's files gives ESRCH (fs/proc/base.c, proc_single_show).
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "no such process")
}

// memory is what a process takes, in bytes.
type memory struct {
	resident, most uint64 // VmRSS and VmHWM
	maps           uint64 // of the kernel, for BPF maps
}

func memoryOf(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	fields := fieldsOf(string(status))
	var m memory
	for name, into := range map[string]*uint64{"VmRSS": &m.resident, "VmHWM": &m.most} {
		kibibytes, err := strconv.ParseUint(strings.TrimSuffix(fields[name], " kB"), 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("/proc/%d/status: %s: %w", pid, name, err)
		}
		*into = kibibytes << 10
	}
	m.maps, err = mapMemory(pid)
	return m, err
}

// mapMemory adds up what the kernel says that the BPF maps of a process take
// (bpf_map_show_fdinfo(), kernel/bpf/syscall.c), each map once.
func mapMemory(pid int) (uint64, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return 0, err
	}
	maps := map[string]uint64{} // by id
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			if gone(err) {
				continue
			}
			return 0, err
		}
		fields := fieldsOf(string(content))
		if fields["map_id"] == "" || fields["map_type"] == "" {
			continue
		}
		bytes, err := strconv.ParseUint(fields["memlock"], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: memlock: %w", file, err)
		}
		maps[fields["map_id"]] = bytes
	}
	var total uint64
	for _, bytes := range maps {
		total += bytes
	}
	return total, nil
}

// fieldsOf reads lines of the form "name: value".
func fieldsOf(content string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(content) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}
