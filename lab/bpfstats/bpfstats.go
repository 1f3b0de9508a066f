// SPDX-License-Identifier: Apache-2.0

// Package bpfstats reads what the kernel itself counts of the exporter's BPF programs
// while its statistics are on: the ground truth for what the exporter says of them.
package bpfstats

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Program is a program of a probe, called as in the labels of the exporter's metrics.
type Program struct{ Probe, Name string }

// nameLength is how much of a name the kernel keeps (BPF_OBJ_NAME_LEN with its 0).
const nameLength = 15

// hits begins the name of the map that the engine counts a probe's runs in.
const hits = "hits_"

// Named is the program that a probe's definition calls name, as far as the kernel can
// tell.
func Named(probe, name string) Program {
	return Program{probe[:min(len(probe), nameLength-len(hits))], name[:min(len(name), nameLength)]}
}

// Stats are the runs of a program while the statistics were on, and the time they took.
type Stats struct {
	Runs uint64
	Time time.Duration
}

// Enable switches the statistics on, for every program of the machine, until it is
// closed (BPF_ENABLE_STATS, Linux 5.8; takes CAP_SYS_ADMIN).
func Enable() (io.Closer, error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, fmt.Errorf("switch the statistics of BPF programs on: %w", err)
	}
	return stats, nil
}

// Read returns the statistics of the programs whose runs the engine counts in a
// process. Several functions that serve one program are added up.
func Read(pid int) (map[Program]Stats, error) {
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	all := map[Program]Stats{}
	seen := map[uint64]bool{}
	for _, path := range descriptors {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, err
		}
		info := fields(string(text))
		if _, ok := info["prog_tag"]; !ok || info["link_id"] != "" {
			continue // a link tells its program's
		}
		id, err := strconv.ParseUint(info["prog_id"], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: prog_id: %w", path, err)
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := add(all, ebpf.ProgramID(id)); err != nil {
			return nil, fmt.Errorf("program %d: %w", id, err)
		}
	}
	return all, nil
}

// fields splits what fdinfo says (Documentation/filesystems/proc.rst).
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			all[name] = strings.TrimSpace(value)
		}
	}
	return all
}

// add adds the statistics of a program if the engine counts its runs.
func add(all map[Program]Stats, id ebpf.ProgramID) error {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return err
	}
	probe, err := probeOf(info)
	if err != nil || probe == "" {
		return err
	}
	stats, err := program.Stats()
	if err != nil {
		return err
	}
	name := Named(probe, info.Name) // in place of a name that is cut, cilium/ebpf gives the function's, which begins with it
	all[name] = Stats{all[name].Runs + stats.RunCount, all[name].Time + stats.Runtime}
	return nil
}

// probeOf finds the probe of a program by the map that its runs are counted in.
func probeOf(program *ebpf.ProgramInfo) (string, error) {
	ids, _ := program.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return "", err
		}
		info, err := m.Info()
		m.Close()
		if err != nil {
			return "", err
		}
		if probe, ok := strings.CutPrefix(info.Name, hits); ok {
			return probe, nil
		}
	}
	return "", nil
}
