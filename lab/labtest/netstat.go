// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Counters are the TcpExt counters of a network namespace, by name:
// ListenDrops, ListenOverflows, TCPDeferAcceptDrop, TCPReqQFullDrop …
// Source: /proc/net/netstat, net/ipv4/proc.c.
type Counters map[string]uint64

// Netstat reads the counters of ns; nil is the test process's own namespace.
func Netstat(t testing.TB, ns *NetNS) Counters {
	t.Helper()
	var text []byte
	err := ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	})
	if err != nil {
		t.Fatalf("read counters: %v", err)
	}
	c, err := parseNetstat(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Since returns by how much each counter has grown.
func (c Counters) Since(before Counters) Counters {
	grown := Counters{}
	for name, v := range c {
		grown[name] = v - before[name]
	}
	return grown
}

// parseNetstat takes the two lines that start with "TcpExt:", names and values.
func parseNetstat(text string) (Counters, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		if len(fields) != len(names) {
			return nil, fmt.Errorf("netstat has %d names and %d values", len(names), len(fields))
		}
		c := Counters{}
		for i, f := range fields[1:] {
			v, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("netstat counter %q: %w", names[i+1], err)
			}
			c[names[i+1]] = v
		}
		return c, nil
	}
	return nil, fmt.Errorf("netstat has no TcpExt lines")
}
