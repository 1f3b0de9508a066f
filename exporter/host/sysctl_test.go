// SPDX-License-Identifier: Apache-2.0

package host

import (
	"log/slog"
	"strings"
	"testing"
)

func TestSysctls_that_are_not_there_are_absent_and_those_that_cannot_be_read_are_an_error(t *testing.T) {
	procfs := procfsWith(t, map[string]string{
		"sys/net/core/somaxconn":             "4096\n",
		"sys/net/ipv4/tcp_rmem":              "4096\t131072\t6291456\n",
		"sys/net/ipv4/tcp_window_scaling":    "yes\n",
		"sys/net/ipv4/tcp_not_in_the_list":   "1\n",
		"sys/net/ipv4/ip_local_port_range":   "32768\t60999\n",
		"sys/net/netfilter/nf_conntrack_max": "262144\n",
	})
	c, err := newSysctls(Environment{Paths: Paths{Procfs: procfs}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Set{log: slog.New(slog.DiscardHandler), collectors: []*running{{Planned: Planned{"sysctl", &Common{}}, collector: c}}}
	got := ""
	for line := range strings.Lines(scrape(t, s)) {
		if strings.HasPrefix(line, "tcpslo_sysctl{") || strings.HasPrefix(line, "tcpslo_collector_success") {
			got += line
		}
	}
	const want = `tcpslo_collector_success{collector="sysctl"} 0
tcpslo_sysctl{name="net.core.somaxconn"} 4096
tcpslo_sysctl{name="net.ipv4.ip_local_port_range[0]"} 32768
tcpslo_sysctl{name="net.ipv4.ip_local_port_range[1]"} 60999
tcpslo_sysctl{name="net.ipv4.tcp_rmem[0]"} 4096
tcpslo_sysctl{name="net.ipv4.tcp_rmem[1]"} 131072
tcpslo_sysctl{name="net.ipv4.tcp_rmem[2]"} 6.291456e+06
tcpslo_sysctl{name="net.netfilter.nf_conntrack_max"} 262144
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if reason := s.Status()[0].Refused; len(reason) != 1 || !strings.Contains(reason[0], `sysctl "net.ipv4.tcp_window_scaling" is no number: "yes"`) {
		t.Errorf("the reason is %q", reason)
	}
}

func TestSysctls_of_a_procfs_without_any_are_refused(t *testing.T) {
	if _, err := newSysctls(Environment{Paths: Paths{Procfs: t.TempDir()}}, nil); err == nil || !strings.Contains(err.Error(), "none of ") {
		t.Errorf("got %v", err)
	}
}
