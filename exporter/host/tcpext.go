// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"

	"github.com/prometheus/procfs"

	"github.com/tcpslo/tcpslo/exporter/names"
)

var tcpExtKind = Kind{Collector: names.TCPExt, New: newTCPExt}

// tcpExt reads the TcpExt counters of net/netstat (net/ipv4/proc.c), which are
// those of the exporter's own network namespace.
type tcpExt struct {
	procfs procfs.FS
}

func newTCPExt(environment Environment, _ Options) (Collector, error) {
	fs, err := procfs.NewFS(environment.Procfs)
	if err != nil {
		return nil, err
	}
	c := &tcpExt{fs}
	if _, err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *tcpExt) read() (procfs.TcpExt, error) {
	self, err := c.procfs.Self()
	if err != nil {
		return procfs.TcpExt{}, fmt.Errorf("find own process: %w", err)
	}
	stat, err := self.Netstat()
	if err != nil {
		return procfs.TcpExt{}, fmt.Errorf("read net/netstat: %w", err)
	}
	return stat.TcpExt, nil
}

func (c *tcpExt) Update() (*Found, error) {
	counters, err := c.read()
	if err != nil {
		return nil, err
	}
	f := &Found{}
	for event, count := range map[string]*float64{
		"accepted":         counters.TCPFastOpenPassive,
		"cookie_requested": counters.TCPFastOpenCookieReqd,
		"cookie_invalid":   counters.TCPFastOpenPassiveFail,
		"queue_full":       counters.TCPFastOpenListenOverflow,
	} {
		if count != nil { // the kernel has it
			f.Add(names.TCPExtFastOpen, *count, event)
		}
	}
	return f, nil
}

func (c *tcpExt) Close() error { return nil }
