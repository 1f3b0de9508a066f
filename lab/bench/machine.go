// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what the figures hold for.
type machine struct {
	kernel, processor string
	cores             int
}

func readMachine() (machine, error) {
	m := machine{cores: runtime.NumCPU(), processor: runtime.GOARCH}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("uname: %w", err)
	}
	m.kernel = unix.ByteSliceToString(name.Release[:])
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(cpuinfo)) {
		// arm64 has no such line.
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			m.processor = strings.TrimSpace(value)
			if strings.Contains(string(cpuinfo), " hypervisor") {
				m.processor += " in a virtual machine"
			}
			break
		}
	}
	return m, nil
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores (%s), Linux %s, %s", m.cores, m.processor, m.kernel, runtime.Version())
}

// loadAverage is the load of the last 1, 5 and 15 minutes: what else runs here.
func loadAverage() (string, error) {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(content))
	if len(fields) < 3 {
		return "", fmt.Errorf("/proc/loadavg: %q", content)
	}
	return strings.Join(fields[:3], " "), nil
}
