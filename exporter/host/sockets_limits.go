// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

// portSet is a set of ports.
type portSet [1 << 16 / 64]uint64

func (p *portSet) add(port uint16)      { p[port/64] |= 1 << (port % 64) }
func (p *portSet) has(port uint16) bool { return p[port/64]&(1<<(port%64)) != 0 }

func (p *portSet) size() int {
	n := 0
	for _, word := range p {
		n += bits.OnesCount64(word)
	}
	return n
}

// readSocketLimits adds the kernel's own accounts that sockets are held against, of
// the calling thread's network namespace, as far as they can be read. Ephemeral
// are the ports that connect(2) may choose; nil if that can't be read.
func readSocketLimits(procfs, netns string, f *Found) (ephemeral *portSet, errs []error) {
	add := func(m names.Metric, read func() (float64, error)) {
		value, err := read()
		if err != nil {
			errs = append(errs, err)
			return
		}
		f.Add(m, value, netns)
	}
	add(names.TimeWaitSockets, func() (float64, error) {
		return timeWaitSockets(filepath.Join(procfs, "thread-self/net/sockstat"))
	})
	add(names.TimeWaitLimit, func() (float64, error) {
		return sysctl.Value(procfs, "net.ipv4.tcp_max_tw_buckets")
	})
	add(names.TimeWaitOverflow, func() (float64, error) {
		return timeWaitOverflow(filepath.Join(procfs, "thread-self/net/netstat"))
	})
	add(names.EphemeralPortsAvailable, func() (n float64, err error) {
		if ephemeral, err = ephemeralPorts(procfs); err == nil {
			n = float64(ephemeral.size())
		}
		return n, err
	})
	return ephemeral, errs
}

// timeWaitSockets takes "tw" from the line "TCP: inuse 5 orphan 0 tw 3 …" of
// /proc/net/sockstat (sockstat_seq_show(), net/ipv4/proc.c).
func timeWaitSockets(file string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if fields[i] == "tw" {
				return number(file, fields[i+1])
			}
		}
	}
	return 0, fmt.Errorf("%s: no tw in the line TCP", file)
}

// timeWaitOverflow takes TCPTimeWaitOverflow from the two lines TcpExt, names and
// values, of /proc/net/netstat (netstat_seq_show(), net/ipv4/proc.c).
func timeWaitOverflow(file string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	column := -1
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "TcpExt:":
		case column >= 0 && column < len(fields):
			return number(file, fields[column])
		default:
			for i, field := range fields {
				if field == "TCPTimeWaitOverflow" {
					column = i
				}
			}
		}
	}
	return 0, fmt.Errorf("%s: no TCPTimeWaitOverflow in the lines TcpExt", file)
}

func number(file, text string) (float64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return float64(n), nil
}

// ephemeralPorts reads the ports that the kernel chooses from: both ends of
// ip_local_port_range belong to it (inet_sk_get_local_port_range(),
// net/ipv4/inet_connection_sock.c).
func ephemeralPorts(procfs string) (*portSet, error) {
	var ends [2]float64
	for i := range ends {
		var err error
		if ends[i], err = sysctl.Value(procfs, fmt.Sprintf("net.ipv4.ip_local_port_range[%d]", i)); err != nil {
			return nil, err
		}
	}
	low, high := int(ends[0]), int(ends[1])
	if low < 0 || high >= 1<<16 {
		return nil, fmt.Errorf("sysctl %q: %d-%d are no ports", "net.ipv4.ip_local_port_range", low, high)
	}
	reserved, err := reservedPorts(filepath.Join(procfs, "sys/net/ipv4/ip_local_reserved_ports"))
	if err != nil {
		return nil, err
	}
	all := &portSet{}
	for port := low; port <= high; port++ {
		if !reserved.has(uint16(port)) {
			all.add(uint16(port))
		}
	}
	return all, nil
}

// reservedPorts reads a list such as "8080,9000-9010", as proc_do_large_bitmap()
// writes it (kernel/sysctl.c).
func reservedPorts(file string) (*portSet, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := &portSet{}
	for _, part := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == '\n' }) {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for port := from; port <= to; port++ {
			set.add(uint16(port))
		}
	}
	return set, nil
}
