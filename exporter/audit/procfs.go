// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

// readCounters reads what nstat(8) shows: net/snmp and net/netstat have pairs of
// lines, "Group: name name" and "Group: value value" (net/ipv4/proc.c).
func (f *Facts) readCounters() {
	f.counters = map[string]Value{}
	for _, file := range []string{"net/snmp", "net/netstat"} {
		path := filepath.Join(f.procfs, file)
		text, err := os.ReadFile(path)
		if err != nil {
			f.missing = err.Error()
			continue
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue
			}
			if len(names) == 0 || names[0] != fields[0] {
				names = fields
				continue
			}
			group := strings.TrimSuffix(fields[0], ":")
			for i := 1; i < min(len(names), len(fields)); i++ {
				n, err := strconv.ParseFloat(fields[i], 64)
				if err != nil {
					err = fmt.Errorf("%s: counter %q is no number: %q", path, group+names[i], fields[i])
				}
				f.counters[group+names[i]] = numberOr(n, err)
			}
			names = nil
		}
	}
}

// readSoftnet adds up the CPUs' lines of net/softnet_stat: hexadecimal columns,
// of which the first three have been the same since Linux 2.6 (net/core/net-procfs.c).
func (f *Facts) readSoftnet() {
	path := filepath.Join(f.procfs, "net/softnet_stat")
	text, err := os.ReadFile(path)
	var sums [3]uint64
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		for i := range sums {
			if i >= len(columns) {
				err = fmt.Errorf("%s: %d columns, want at least %d", path, len(columns), len(sums))
				break
			}
			n, parseErr := strconv.ParseUint(columns[i], 16, 64)
			if parseErr != nil {
				err = fmt.Errorf("%s: %q is no hexadecimal number", path, columns[i])
			}
			sums[i] += n
		}
	}
	for i, name := range []string{"softnet_processed", "softnet_dropped", "softnet_squeezed"} {
		f.Host.Fields[name] = numberOr(float64(sums[i]), err)
	}
}

func (f *Facts) readPortRange() {
	values, err := sysctl.Read(f.procfs, "net.ipv4.ip_local_port_range")
	if err == nil && len(values) != 2 {
		err = fmt.Errorf("sysctl %q has %d values, want 2", "net.ipv4.ip_local_port_range", len(values))
	}
	if err != nil {
		f.Host.Fields["ephemeral_ports"] = Unknown(err.Error())
		return
	}
	f.Host.Fields["ephemeral_ports"] = NumberOf(values[1] - values[0] + 1)
}

// timeWait is the number of TIME_WAIT sockets, "TCP: … tw N" of net/sockstat.
func timeWait(procfs string) (float64, error) {
	path := filepath.Join(procfs, "net/sockstat")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for i := 1; i+1 < len(fields) && fields[0] == "TCP:"; i += 2 {
			if fields[i] == "tw" {
				return strconv.ParseFloat(fields[i+1], 64)
			}
		}
	}
	return 0, fmt.Errorf("%s: no TIME_WAIT sockets in the line of TCP", path)
}

// fastOpenLimits is the limit of the Fast Open queue of each listening socket by
// inode: the last column of net/tcp, for sockets that listen (net/ipv4/tcp_ipv4.c,
// get_tcp4_sock). They come first, and the rest, which may be a million, isn't read.
func fastOpenLimits(procfs string) (map[uint32]float64, error) {
	const inodeColumn, limitColumn = 9, 16
	limits := map[uint32]float64{}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		file, err := os.Open(filepath.Join(procfs, name))
		if errors.Is(err, fs.ErrNotExist) && name == "net/tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			columns := strings.Fields(lines.Text())
			if len(columns) > 0 && columns[0] == "sl" {
				continue
			}
			if len(columns) <= limitColumn || columns[3] != "0A" {
				break
			}
			inode, err := strconv.ParseUint(columns[inodeColumn], 10, 32)
			limit, err2 := strconv.ParseFloat(columns[limitColumn], 64)
			if err := errors.Join(err, err2); err != nil {
				return nil, fmt.Errorf("%s: %w", file.Name(), err)
			}
			limits[uint32(inode)] = limit
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", file.Name(), err)
		}
	}
	return limits, nil
}

// openFiles is how many descriptors a process has open and may have open; the
// second may be infinite.
func openFiles(procfs string, pid uint32) (open, limit float64, err error) {
	process := filepath.Join(procfs, strconv.FormatUint(uint64(pid), 10))
	dir, err := os.Open(filepath.Join(process, "fd"))
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, 0, err
	}
	path := filepath.Join(process, "limits")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(text) {
		rest, found := bytes.CutPrefix(line, []byte("Max open files"))
		if columns := strings.Fields(string(rest)); found && len(columns) > 0 {
			if columns[0] == "unlimited" {
				return float64(len(names)), math.Inf(1), nil
			}
			limit, err := strconv.ParseFloat(columns[0], 64)
			return float64(len(names)), limit, err
		}
	}
	return 0, 0, fmt.Errorf("%s: no limit of open files", path)
}

// builtByGo tells whether Go's linker made a process's executable.
func builtByGo(procfs string, pid uint32) Value {
	file, err := os.Open(filepath.Join(procfs, strconv.FormatUint(uint64(pid), 10), "exe"))
	if err != nil {
		return Unknown(err.Error())
	}
	defer file.Close()
	_, err = buildinfo.Read(file)
	return BoolOf(err == nil)
}
