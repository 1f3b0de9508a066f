// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

type ruleTest struct {
	rule      string
	fires     []world
	silent    []world
	notJudged []world
	what      string // part of what the first finding says
	fix       string // part of the command
}

// ruleTests has, for each rule, machines on which it has a finding, on which it has
// none by a hair, and on which something that it needs is not known.
var ruleTests = []ruleTest{
	{
		rule:      "listener-dropped-connections",
		fires:     []world{{"sockets": "4096 0 2 false", "proc/net/netstat": netstat(map[string]int{"ListenDrops": 1})}},
		silent:    []world{{"sockets": "4096 0 2 false"}, {"proc/net/netstat": netstat(map[string]int{"ListenDrops": 1})}},
		notJudged: []world{{"sockets": "4096 0 2 false", "proc/net/netstat": "-"}, {"sockets": "-"}},
		what:      "127.0.0.1:8080 has refused connections: its accept queue holds 4096 + 1", fix: "sysctl -w net.core.somaxconn=65535",
	},
	{
		rule:      "listener-backlog-small",
		fires:     []world{{"sockets": "16 0 0 false"}, {"sockets": "127 0 0 false", "owners": "-"}},
		silent:    []world{{"sockets": "128 0 0 false"}, {"sockets": "16 0 0 false", "proc/sys/net/core/somaxconn": "16\n"}},
		notJudged: []world{{"sockets": "16 0 0 false", "proc/sys/net/core/somaxconn": "-"}, {"sockets": "-"}},
		what:      "127.0.0.1:8080 queues at most 16 + 1 connections, net.core.somaxconn allows 4096", fix: "backlog of 4096",
	},
	{
		rule:      "listener-backlog-below-somaxconn",
		fires:     []world{{"sockets": "511 0 0 false", "proc/7/exe": "ELF of another language"}, {"sockets": "128 0 0 false", "proc/7/exe": "none of Go's"}},
		silent:    []world{{"sockets": "511 0 0 false"}, {"sockets": "127 0 0 false", "proc/7/exe": "none of Go's"}, {"proc/7/exe": "none of Go's"}},
		notJudged: []world{{"sockets": "511 0 0 false", "owners": "-"}, {"sockets": "511 0 0 false", "proc/7/exe": "-"}},
		what:      "at most 511 + 1", fix: "127.0.0.1:8080",
	},
	{
		rule:      "listener-older-than-somaxconn",
		fires:     []world{{"sockets": "128 0 0 false"}, {"sockets": "4095 0 0 false"}},
		silent:    []world{{"sockets": "127 0 0 false"}, {"sockets": "128 0 0 false", "proc/7/exe": "none of Go's"}},
		notJudged: []world{{"sockets": "128 0 0 false", "owners": "-"}, {"proc/sys/net/core/somaxconn": "-"}},
		what:      "127.0.0.1:8080 still queues at most 128 + 1", fix: "restart shop",
	},
	{
		rule:      "listener-backlog-capped",
		fires:     []world{{"sockets": "1024 0 0 false", "proc/sys/net/core/somaxconn": "1024\n"}, {"proc/sys/net/core/somaxconn": "4095\n"}},
		silent:    []world{{"sockets": "1023 0 0 false", "proc/sys/net/core/somaxconn": "1024\n"}},
		notJudged: []world{{"proc/sys/net/core/somaxconn": "-"}},
		what:      "because net.core.somaxconn is 1024", fix: "sysctl -w net.core.somaxconn=4096",
	},
	{
		rule:      "syn-queue-overflowed",
		fires:     []world{{"proc/net/netstat": netstat(map[string]int{"TCPReqQFullDrop": 3})}},
		silent:    []world{{"proc/net/netstat": netstat(map[string]int{"ListenDrops": 3})}},
		notJudged: []world{{"proc/net/netstat": "-"}, {"proc/net/netstat": netstat(map[string]int{"TCPReqQFullDrop": -1})}, {"proc/net/netstat": "TcpExt: TCPReqQFullDrop\nTcpExt: many\n"}},
		what:      "3 SYNs were dropped", fix: "sysctl -w net.ipv4.tcp_syncookies=1",
	},
	{
		rule:      "syn-backlog-without-cookies",
		fires:     []world{{"proc/sys/net/ipv4/tcp_syncookies": "0\n"}, {"proc/sys/net/ipv4/tcp_syncookies": "0\n", "proc/sys/net/ipv4/tcp_max_syn_backlog": "4095\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_max_syn_backlog": "1\n"}, {"proc/sys/net/ipv4/tcp_syncookies": "0\n", "proc/sys/net/ipv4/tcp_max_syn_backlog": "4096\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_syncookies": "-"}},
		what:      "net.ipv4.tcp_max_syn_backlog is 2048, less than net.core.somaxconn (4096)", fix: "tcp_syncookies=1",
	},
	{
		rule:      "abort-on-overflow",
		fires:     []world{{"proc/sys/net/ipv4/tcp_abort_on_overflow": "1\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_abort_on_overflow": "0\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_abort_on_overflow": "-"}},
		what:      "tcp_abort_on_overflow is on", fix: "tcp_abort_on_overflow=0",
	},
	{
		rule:      "listener-mptcp",
		fires:     []world{{"sockets": "4096 0 0 true"}},
		silent:    []world{{"sockets": "4096 0 0 false"}},
		notJudged: []world{{"sockets": "4096 0 0 hidden"}, {"sockets": "-"}},
		what:      "127.0.0.1:8080 takes Multipath TCP", fix: "GODEBUG=multipathtcp=0",
	},
	{
		rule:      "ephemeral-ports-short",
		fires:     []world{{"time_wait": "71", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n"}},
		silent:    []world{{"time_wait": "70", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/ip_local_port_range": "-"}, {"proc/sys/net/ipv4/ip_local_port_range": "1\n"}, {"sockets": "-"}},
		what:      "71 of 100 ephemeral ports are in TIME_WAIT to 10.0.0.1:5432, 1.183 new connections each second", fix: "ip_local_port_range",
	},
	{
		rule: "tw-reuse-off",
		fires: []world{
			{"time_wait": "21", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n"},
			{"time_wait": "21", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n", "proc/sys/net/ipv4/tcp_tw_reuse": "0\n"},
		},
		silent: []world{
			{"time_wait": "20", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n"},
			{"time_wait": "90", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n", "proc/sys/net/ipv4/tcp_tw_reuse": "1\n"},
		},
		notJudged: []world{{"sockets": "-"}, {"time_wait": "21", "proc/sys/net/ipv4/ip_local_port_range": "32768 32867\n", "proc/sys/net/ipv4/tcp_tw_reuse": "-"}},
		what:      "21 outgoing connections are in TIME_WAIT and net.ipv4.tcp_tw_reuse is 2", fix: "tcp_tw_reuse=1",
	},
	{
		rule:      "tw-reuse-without-timestamps",
		fires:     []world{{"proc/sys/net/ipv4/tcp_tw_reuse": "1\n", "proc/sys/net/ipv4/tcp_timestamps": "0\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_tw_reuse": "1\n"}, {"proc/sys/net/ipv4/tcp_timestamps": "0\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_tw_reuse": "1\n", "proc/sys/net/ipv4/tcp_timestamps": "-"}},
		what:      "has no effect", fix: "tcp_timestamps=1",
	},
	{
		rule: "time-wait-table-full",
		fires: []world{
			{"proc/net/sockstat": "TCP: inuse 1 orphan 0 tw 104858 alloc 1 mem 50\n"},
			{"proc/net/netstat": netstat(map[string]int{"TCPTimeWaitOverflow": 1}), "proc/net/sockstat": "-"},
		},
		silent:    []world{{"proc/net/sockstat": "TCP: inuse 1 orphan 0 tw 104857 alloc 1 mem 50\n"}, {"proc/net/sockstat": "TCP: tw 80000\n", "proc/sys/net/ipv4/tcp_max_tw_buckets": "100000\n"}},
		notJudged: []world{{"proc/net/sockstat": "-"}, {"proc/net/sockstat": "TCP: inuse 1\n"}, {"proc/sys/net/ipv4/tcp_max_tw_buckets": "-"}},
		what:      "104858 sockets are in TIME_WAIT, net.ipv4.tcp_max_tw_buckets is 131072; 0 were", fix: "tcp_max_tw_buckets=262144",
	},
	{
		rule:      "fin-timeout-misunderstood",
		fires:     []world{{"proc/sys/net/ipv4/tcp_fin_timeout": "15\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_fin_timeout": "60\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_fin_timeout": "-"}},
		what:      "is 15 s: it does not shorten TIME_WAIT", fix: "tcp_fin_timeout=60",
	},
	{
		rule:      "small-reads-close-window",
		fires:     []world{{"metrics": exposition("read=1", 10, 10240, 2)}, {"metrics": exposition("read=1", 10, 40959, 1)}},
		silent:    []world{{"metrics": exposition("read=1", 10, 10240, 0)}, {"metrics": exposition("read=1", 10, 40960, 2)}},
		notJudged: []world{{"metrics": "-"}, {"metrics": exposition("read=1", 0, 0, 2)}, {"owners": "-"}, {"owners": "bakery"}},
		what:      "shop reads 1024 bytes at a time, and its receive windows have closed 2 and collapsed 0 times", fix: "bufio.NewReaderSize",
	},
	{
		rule:      "receive-window-closes",
		fires:     []world{{"metrics": exposition("read=1", 10, 40960, 2), "proc/sys/net/ipv4/tcp_rmem": "4096 131072 4194303\n"}},
		silent:    []world{{"metrics": exposition("read=1", 10, 40960, 2), "proc/sys/net/ipv4/tcp_rmem": "4096 131072 4194304\n"}, {"metrics": exposition("read=1", 10, 40960, 0), "proc/sys/net/ipv4/tcp_rmem": "4096 131072 212992\n"}, {"metrics": exposition("read=1", 10, 10240, 2), "proc/sys/net/ipv4/tcp_rmem": "4096 131072 212992\n"}},
		notJudged: []world{{"metrics": "-", "proc/sys/net/ipv4/tcp_rmem": "4096 131072 212992\n"}, {"metrics": exposition("read=1", 10, 40960, 2), "proc/sys/net/ipv4/tcp_rmem": "4096\n"}},
		what:      "shop reads 4096 bytes at a time and its receive windows have closed 2 times; net.ipv4.tcp_rmem allows 4194303 bytes", fix: `tcp_rmem="4096 131072 6291456"`,
	},
	{
		rule:      "rmem-default-is-not-tcp",
		fires:     []world{{"proc/sys/net/core/rmem_default": "8388608\n"}},
		silent:    []world{{"proc/sys/net/core/rmem_default": "212992\n"}, {"proc/sys/net/core/rmem_default": "262144\n", "proc/sys/net/ipv4/tcp_rmem": "4096 262144 6291456\n"}},
		notJudged: []world{{"proc/sys/net/core/rmem_default": "-"}},
		what:      "raised to 8388608, which TCP does not use", fix: `tcp_rmem="4096 8388608 6291456"`,
	},
	{
		rule:      "receive-buffer-fixed",
		fires:     []world{{"proc/sys/net/ipv4/tcp_moderate_rcvbuf": "0\n"}, {"proc/sys/net/ipv4/tcp_window_scaling": "0\n", "proc/sys/net/ipv4/tcp_moderate_rcvbuf": "-"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_window_scaling": "1\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_window_scaling": "-"}},
		what:      "tcp_moderate_rcvbuf is 0, net.ipv4.tcp_window_scaling is 1", fix: "tcp_moderate_rcvbuf=1",
	},
	{
		rule:      "receive-buffer-small",
		fires:     []world{{"proc/sys/net/ipv4/tcp_rmem": "4096 87380 4194303\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_rmem": "4096 87380 4194304\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_rmem": "-"}, {"proc/sys/net/ipv4/tcp_rmem": "4096 87380\n"}},
		what:      "4194303 bytes at most", fix: `tcp_rmem="4096 87380 6291456"`,
	},
	{
		rule:      "send-buffer-small",
		fires:     []world{{"proc/sys/net/ipv4/tcp_wmem": "4096 16384 4194303\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_wmem": "4096 16384 4194304\n"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_wmem": "-"}},
		what:      "4194303 bytes at most", fix: `tcp_wmem="4096 16384 4194304"`,
	},
	{
		rule:      "receive-queue-pruned",
		fires:     []world{{"proc/net/netstat": netstat(map[string]int{"RcvPruned": 5})}, {"proc/net/netstat": netstat(map[string]int{"TCPRcvQDrop": 5, "RcvPruned": -1})}},
		silent:    []world{{"proc/net/netstat": netstat(map[string]int{"ListenDrops": 1})}},
		notJudged: []world{{"proc/net/netstat": netstat(map[string]int{"TCPRcvQDrop": -1})}},
		what:      "5 times a full receive buffer was emptied by force, 0 segments", fix: `tcp_rmem="4096 131072 12582912"`,
	},
	{
		rule:      "tcp-memory-pressure",
		fires:     []world{{"proc/net/netstat": netstat(map[string]int{"TCPMemoryPressures": 1})}},
		silent:    []world{{"proc/net/netstat": netstat(map[string]int{"TCPMemoryPressures": 0})}},
		notJudged: []world{{"proc/net/netstat": netstat(map[string]int{"TCPMemoryPressures": -1})}},
		what:      "TCP was short of memory 1 times (net.ipv4.tcp_mem: 254000 pages)", fix: `tcp_mem="380000 508000 760000"`,
	},
	{
		rule:      "netdev-backlog-drops",
		fires:     []world{{"proc/net/softnet_stat": softnet(9, 3, 0)}},
		silent:    []world{{"proc/net/softnet_stat": softnet(9, 0, 3)}, {"proc/net/softnet_stat": softnet(9, 3, 0), "proc/sys/net/core/netdev_max_backlog": "30000\n"}, {"proc/sys/net/core/netdev_max_backlog": "-"}},
		notJudged: []world{{"proc/net/softnet_stat": "-"}, {"proc/net/softnet_stat": "0000000g 0 0\n"}, {"proc/net/softnet_stat": "1 2\n"}, {"proc/net/softnet_stat": softnet(9, 3, 0), "proc/sys/net/core/netdev_max_backlog": "-"}},
		what:      "3 packets were dropped", fix: "netdev_max_backlog=4000",
	},
	{
		rule:      "netdev-budget-squeezed",
		fires:     []world{{"proc/net/softnet_stat": softnet(200000, 0, 201)}},
		silent:    []world{{"proc/net/softnet_stat": softnet(200000, 0, 200)}, {"proc/net/softnet_stat": softnet(100000, 0, 5000)}},
		notJudged: []world{{"proc/net/softnet_stat": "-"}},
		what:      "201 times when its budget was used up (300 packets, 8000 µs)", fix: "netdev_budget=600 net.core.netdev_budget_usecs=16000",
	},
	{
		rule:      "nic-ring-below-maximum",
		fires:     []world{{"sys/class/net/eth0/statistics/rx_missed_errors": "4\n"}, {"sys/class/net/eth0/statistics/rx_fifo_errors": "1\n", "ring": "4095 4096"}},
		silent:    []world{{"sys/class/net/eth0/statistics/rx_dropped": "4\n"}, {"sys/class/net/eth0/statistics/rx_missed_errors": "4\n", "ring": "4096 4096"}, {"ring": "-"}},
		notJudged: []world{{"sys/class/net/eth0/statistics/rx_missed_errors": "4\n", "ring": "-"}, {"sys/class/net/eth0/statistics/rx_missed_errors": "many\n"}},
		what:      "eth0 found its receive ring full 4 times; it has 256 entries of 4096", fix: "ethtool -G eth0 rx 4096",
	},
	{
		rule:      "conntrack-nearly-full",
		fires:     []world{{"proc/sys/net/netfilter/nf_conntrack_count": "801\n"}},
		silent:    []world{{"proc/sys/net/netfilter/nf_conntrack_count": "800\n"}},
		notJudged: []world{{"proc/sys/net/netfilter/nf_conntrack_count": "-"}},
		what:      "801 of 1000 entries", fix: "nf_conntrack_max=2000",
	},
	{
		rule:      "fastopen-without-sysctl",
		fires:     []world{{"proc/net/tcp": procTCP(256)}, {"proc/net/tcp": procTCP(1), "proc/sys/net/ipv4/tcp_fastopen": "0\n"}},
		silent:    []world{{"proc/net/tcp": procTCP(256), "proc/sys/net/ipv4/tcp_fastopen": "2\n"}, {"proc/sys/net/ipv4/tcp_fastopen": "0\n"}},
		notJudged: []world{{"proc/net/tcp": "-"}, {"proc/net/tcp": procTCP(256), "proc/sys/net/ipv4/tcp_fastopen": "-"}},
		what:      "127.0.0.1:8080 asks for Fast Open, and net.ipv4.tcp_fastopen is 1", fix: "tcp_fastopen=3",
	},
	{
		rule:      "fastopen-without-listener",
		fires:     []world{{"proc/sys/net/ipv4/tcp_fastopen": "3\n"}},
		silent:    []world{{"proc/sys/net/ipv4/tcp_fastopen": "3\n", "proc/net/tcp": procTCP(1)}, {"proc/sys/net/ipv4/tcp_fastopen": "1027\n"}, {"proc/sys/net/ipv4/tcp_fastopen": "3\n", "sockets": "none"}},
		notJudged: []world{{"proc/sys/net/ipv4/tcp_fastopen": "3\n", "proc/net/tcp": "-"}, {"proc/sys/net/ipv4/tcp_fastopen": "-"}, {"proc/sys/net/ipv4/tcp_fastopen": "3\n", "sockets": "-"}},
		what:      "no listener asks for it", fix: "tcp_fastopen=1",
	},
	{
		rule:      "nofile-nearly-reached",
		fires:     []world{{"proc/7/limits": limits("1")}},
		silent:    []world{{"proc/7/limits": limits("2")}, {"proc/7/limits": limits("unlimited")}, {"proc/7/limits": limits("5"), "proc/7/fd/4": "", "proc/7/fd/5": "", "proc/7/fd/6": ""}},
		notJudged: []world{{"proc/7/limits": "-"}, {"proc/7/limits": "nothing\n"}, {"owners": "-"}},
		what:      "shop (process 7) has 1 files open and may have 1", fix: "prlimit --pid 7 --nofile=4",
	},
	{
		rule:      "nofile-below-somaxconn",
		fires:     []world{{"proc/7/limits": limits("4095")}},
		silent:    []world{{"proc/7/limits": limits("4096")}},
		notJudged: []world{{"proc/7/limits": "-"}, {"proc/sys/net/core/somaxconn": "-"}, {"owners": "-"}},
		what:      "shop may have 4095 files open", fix: "prlimit --pid 7 --nofile=65536",
	},
	{
		rule:      "server-without-read-header-timeout",
		fires:     []world{{"metrics": exposition("read_header=0 read=0 write=0 idle=0", 0, 0, 0)}},
		silent:    []world{{"metrics": exposition("read_header=5 read=0 write=0 idle=0", 0, 0, 0)}, {"metrics": exposition("read_header=0 read=5 write=0 idle=0", 0, 0, 0)}},
		notJudged: []world{{"metrics": "-"}, {"metrics": ""}, {"metrics": exposition("read_header=0", 0, 0, 0)}},
		what:      `the http.Server of shop with Addr ":8080" has neither ReadHeaderTimeout nor ReadTimeout`, fix: "ReadHeaderTimeout: 5 * time.Second,",
	},
	{
		rule:      "server-without-idle-timeout",
		fires:     []world{{"metrics": exposition("read_header=5 read=0 write=0 idle=0", 0, 0, 0)}},
		silent:    []world{{"metrics": exposition("read_header=0 read=0 write=0 idle=0.5", 0, 0, 0)}, {"metrics": exposition("read_header=0 read=5 write=0 idle=0", 0, 0, 0)}},
		notJudged: []world{{"metrics": "-"}, {"metrics": exposition("read=0", 0, 0, 0)}},
		what:      "neither IdleTimeout nor ReadTimeout", fix: "IdleTimeout: 2 * time.Minute,",
	},
	{
		rule:      "server-without-read-timeout",
		fires:     []world{{"metrics": exposition("read_header=5 read=0 write=0 idle=0", 0, 0, 0)}},
		silent:    []world{{"metrics": exposition("read_header=0 read=0 write=0 idle=0", 0, 0, 0)}, {"metrics": exposition("read_header=5 read=1 write=0 idle=0", 0, 0, 0)}},
		notJudged: []world{{"metrics": "-"}, {"metrics": exposition("read=0", 0, 0, 0)}},
		what:      "has no ReadTimeout", fix: "ReadTimeout: 30 * time.Second,",
	},
	{
		rule:      "server-without-write-timeout",
		fires:     []world{{"metrics": exposition("read_header=5 read=5 write=0 idle=5", 0, 0, 0)}},
		silent:    []world{{"metrics": exposition("read_header=0 read=0 write=0.1 idle=0", 0, 0, 0)}},
		notJudged: []world{{"metrics": "-"}, {"metrics": exposition("read=0", 0, 0, 0)}},
		what:      "has no WriteTimeout", fix: "WriteTimeout: 30 * time.Second,",
	},
}

func only(t *testing.T, id string) []*Rule {
	t.Helper()
	for _, r := range Builtin() {
		if r.ID == id {
			return []*Rule{r}
		}
	}
	t.Fatalf("there is no rule %q", id)
	return nil
}

func TestRules_fire_stay_silent_and_say_when_they_cannot_judge(t *testing.T) {
	for _, test := range ruleTests {
		t.Run(test.rule, func(t *testing.T) {
			rule := only(t, test.rule)
			for i, change := range test.fires {
				report := Judge(rule, healthy().with(change).look(t))
				if len(report.Findings) != 1 || len(report.NotJudged) != 0 || len(report.Passed) != 0 {
					t.Errorf("with %v: %+v, want one finding", change, report)
					continue
				}
				f := report.Findings[0]
				if i == 0 && (!strings.Contains(f.What, test.what) || !strings.Contains(f.Fix, test.fix)) {
					t.Errorf("it says %q and %q, want %q and %q in it", f.What, f.Fix, test.what, test.fix)
				}
				if i == 0 && strings.Contains(f.What+f.Fix, "unknown") {
					t.Errorf("something in %q or %q is unknown", f.What, f.Fix)
				}
				if f.Why == "" || f.Link == "" || f.Severity != rule[0].Severity {
					t.Errorf("the finding is %+v", f)
				}
			}
			for _, change := range test.silent {
				report := Judge(rule, healthy().with(change).look(t))
				if !slices.Equal(report.Passed, []string{test.rule}) {
					t.Errorf("with %v: %+v, want it to pass", change, report)
				}
			}
			for _, change := range test.notJudged {
				report := Judge(rule, healthy().with(change).look(t))
				if len(report.Findings) != 0 || len(report.NotJudged) != 1 || len(report.Passed) != 0 || report.NotJudged[0].Reason == "" {
					t.Errorf("with %v: %+v, want it not judged for one reason", change, report)
				}
			}
		})
	}
}

func TestEvery_rule_has_a_machine_on_which_it_fires_one_on_which_it_is_silent_and_one_on_which_it_is_not_judged(t *testing.T) {
	for _, rule := range Builtin() {
		i := slices.IndexFunc(ruleTests, func(test ruleTest) bool { return test.rule == rule.ID })
		if i < 0 {
			t.Errorf("rule %q has no test", rule.ID)
		} else if test := ruleTests[i]; len(test.fires) == 0 || len(test.silent) == 0 || len(test.notJudged) == 0 || test.what == "" || test.fix == "" {
			t.Errorf("rule %q has %d, %d and %d machines", rule.ID, len(test.fires), len(test.silent), len(test.notJudged))
		}
	}
}

func TestHealthy_machine_has_no_findings_and_everything_is_judged(t *testing.T) {
	report := Judge(Builtin(), healthy().look(t))
	if len(report.Findings) != 0 || len(report.NotJudged) != 0 || len(report.Passed) != len(Builtin()) {
		t.Errorf("%+v", report)
	}
}

func TestMachine_of_which_nothing_can_be_read_has_every_rule_not_judged(t *testing.T) {
	report := Judge(Builtin(), world{"sockets": "-", "owners": "-", "ring": "-", "metrics": "-"}.look(t))
	judged := ids(Builtin())
	for _, n := range report.NotJudged {
		judged = slices.DeleteFunc(judged, func(id string) bool { return id == n.Rule })
	}
	if len(judged) != 0 || len(report.Findings) != 0 || len(report.Passed) != 0 {
		t.Errorf("judged all the same: %v; findings %v", judged, report.Findings)
	}
}

func TestRules_name_only_sysctls_that_are_exported(t *testing.T) {
	named := regexp.MustCompile(`sysctl\["([^"]+)"\]`)
	found := 0
	for _, rule := range Builtin() {
		for _, match := range named.FindAllStringSubmatch(rule.When+rule.What+rule.Fix, -1) {
			found++
			if !slices.Contains(sysctl.Names, sysctl.Base(match[1])) {
				t.Errorf("rule %q names %q, which sysctl.Names has not", rule.ID, match[1])
			}
		}
	}
	if found < len(Builtin()) {
		t.Errorf("only %d sysctls are named", found)
	}
}

// outcomes is what a rule comes to on all machines of its test.
func outcomes(rule *Rule, machines []*Facts) string {
	var all strings.Builder
	for _, facts := range machines {
		r := Judge([]*Rule{rule}, facts)
		fmt.Fprint(&all, len(r.Findings), len(r.NotJudged), len(r.Passed), " ")
	}
	return all.String()
}

// A rule with another operator must come to something else on one of the machines:
// they are where it tips.
func TestMachines_tell_each_rule_from_one_that_is_nearly_the_same(t *testing.T) {
	others := map[string]string{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&"}
	operator := regexp.MustCompile(` (<=|>=|==|!=|<|>|&&|\|\|) `)
	mutants := 0
	for _, test := range ruleTests {
		rule := *only(t, test.rule)[0]
		var machines []*Facts
		for _, change := range slices.Concat(test.fires, test.silent, test.notJudged) {
			machines = append(machines, healthy().with(change).look(t))
		}
		machines = append(machines, healthy().look(t))
		want := outcomes(&rule, machines)
		for _, at := range operator.FindAllStringSubmatchIndex(rule.When, -1) {
			mutant := rule
			text := rule.When[:at[2]] + others[rule.When[at[2]:at[3]]] + rule.When[at[3]:]
			var p *problem
			if mutant.when, p = compile(text, rule.For); p != nil {
				t.Fatalf("%s: %v", text, p)
			}
			if mutants++; outcomes(&mutant, machines) == want {
				t.Errorf("%s: nothing tells it from %s", rule.ID, text)
			}
		}
	}
	if mutants < 60 {
		t.Errorf("only %d rules that are nearly the same", mutants)
	}
}
