// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// world is a machine in files: procfs, sysfs and the exposition of an exporter.
// Keys are paths below a folder; a file that is to be missing is "-".
type world map[string]string

// healthy is a machine on which every rule is judged and finds nothing: one Go
// service on 127.0.0.1:8080 in process 7, one device.
func healthy() world {
	return world{
		"proc/sys/net/core/somaxconn":                    "4096\n",
		"proc/sys/net/core/netdev_max_backlog":           "1000\n",
		"proc/sys/net/core/netdev_budget":                "300\n",
		"proc/sys/net/core/netdev_budget_usecs":          "8000\n",
		"proc/sys/net/core/rmem_default":                 "212992\n",
		"proc/sys/net/ipv4/ip_local_port_range":          "32768\t60999\n",
		"proc/sys/net/ipv4/tcp_abort_on_overflow":        "0\n",
		"proc/sys/net/ipv4/tcp_fastopen":                 "1\n",
		"proc/sys/net/ipv4/tcp_fin_timeout":              "60\n",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":          "2048\n",
		"proc/sys/net/ipv4/tcp_max_tw_buckets":           "131072\n",
		"proc/sys/net/ipv4/tcp_mem":                      "190000\t254000\t380000\n",
		"proc/sys/net/ipv4/tcp_moderate_rcvbuf":          "1\n",
		"proc/sys/net/ipv4/tcp_rmem":                     "4096\t131072\t6291456\n",
		"proc/sys/net/ipv4/tcp_syncookies":               "1\n",
		"proc/sys/net/ipv4/tcp_timestamps":               "1\n",
		"proc/sys/net/ipv4/tcp_tw_reuse":                 "2\n",
		"proc/sys/net/ipv4/tcp_window_scaling":           "1\n",
		"proc/sys/net/ipv4/tcp_wmem":                     "4096\t16384\t4194304\n",
		"proc/sys/net/netfilter/nf_conntrack_count":      "100\n",
		"proc/sys/net/netfilter/nf_conntrack_max":        "1000\n",
		"proc/net/snmp":                                  "Tcp: RtoAlgorithm ActiveOpens\nTcp: 1 5\n",
		"proc/net/netstat":                               netstat(nil),
		"proc/net/sockstat":                              "sockets: used 14\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 50\n",
		"proc/net/softnet_stat":                          softnet(200000, 0, 0),
		"proc/net/tcp":                                   procTCP(0),
		"proc/7/limits":                                  limits("65536"),
		"proc/7/fd/3":                                    "",
		"proc/7/exe":                                     "go",
		"sys/class/net/eth0/device/vendor":               "",
		"sys/class/net/eth0/statistics/rx_dropped":       "0\n",
		"sys/class/net/eth0/statistics/rx_missed_errors": "0\n",
		"sys/class/net/eth0/statistics/rx_fifo_errors":   "0\n",
		"ring":      "256 4096",
		"sockets":   "4096 0 0 false", // backlog, queue, drops, mptcp
		"time_wait": "0",              // outgoing, to one destination
		"owners":    "shop",
		"metrics":   exposition("read_header=5 read=30 write=30 idle=120", 100, 100*8192, 0),
	}
}

func netstat(counters map[string]int) string {
	names, values := "TcpExt:", "TcpExt:"
	all := map[string]int{"ListenDrops": 0, "TCPReqQFullDrop": 0, "TCPTimeWaitOverflow": 0, "RcvPruned": 0, "TCPRcvQDrop": 0, "TCPMemoryPressures": 0}
	maps.Copy(all, counters)
	for name, n := range all {
		if n >= 0 {
			names, values = names+" "+name, values+fmt.Sprint(" ", n)
		}
	}
	return names + "\n" + values + "\nIpExt: InNoRoutes\nIpExt: 0\n"
}

func softnet(processed, dropped, squeezed int) string {
	// Two CPUs: the sums count.
	return fmt.Sprintf("%08x %08x %08x 00000000\n%08x %08x %08x 00000000\n", processed-1, dropped, squeezed, 1, 0, 0)
}

func procTCP(fastopen int) string {
	return fmt.Sprintf(`  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 000000002cb522d5 100 0 0 10 %d
   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 78 1 000000002cb522d6 20 0 0 10 -1
`, fastopen)
}

func limits(soft string) string {
	return "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            " + soft + "                 524288               files     \n"
}

// exposition is what an exporter says of a service "shop" that has one server.
func exposition(timeouts string, reads, bytes, zeroWindows int) string {
	var out strings.Builder
	out.WriteString("# TYPE tcpslo_http_server_timeout_seconds gauge\n")
	for pair := range strings.FieldsSeq(timeouts) {
		name, seconds, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&out, "tcpslo_http_server_timeout_seconds{service=\"shop\",server=\":8080\",timeout=%q} %s\n", name, seconds)
	}
	fmt.Fprintf(&out, "# TYPE tcpslo_read_size_bytes histogram\ntcpslo_read_size_bytes_bucket{service=\"shop\",le=\"+Inf\"} %d\ntcpslo_read_size_bytes_sum{service=\"shop\"} %d\ntcpslo_read_size_bytes_count{service=\"shop\"} %[1]d\n", reads, bytes)
	if zeroWindows > 0 {
		fmt.Fprintf(&out, "# TYPE tcpslo_zero_window_total counter\ntcpslo_zero_window_total{service=\"shop\"} %d\n", zeroWindows)
	}
	return out.String()
}

// with is a world in which some files are different.
func (w world) with(others world) world {
	all := maps.Clone(w)
	maps.Copy(all, others)
	return all
}

// look reads the facts of a world by the code that reads a machine's.
func (w world) look(t *testing.T) *Facts {
	t.Helper()
	root := t.TempDir()
	source := Source{Procfs: filepath.Join(root, "proc"), Sysfs: filepath.Join(root, "sys"), NoMetrics: "there is no exporter"}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range w {
		if !strings.Contains(name, "/") || text == "-" {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "proc/7/exe" && text == "go" {
			err = os.Symlink(self, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	source.sockets, source.hiddenMPTCP = w.sockets, w.hiddenMPTCP
	source.Owners = func([]uint32) (map[uint32]Owner, error) {
		if w["owners"] == "-" {
			return nil, errHidden
		}
		return map[uint32]Owner{77: {PID: 7, Service: w["owners"]}}, nil
	}
	source.Rings = func() (map[string]Ring, error) {
		if w["ring"] == "-" {
			return nil, nil
		}
		var r Ring
		_, err := fmt.Sscan(w["ring"], &r.Entries, &r.Max)
		return map[string]Ring{"eth0": r}, err
	}
	if w["metrics"] != "-" {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		byName, err := parser.TextToMetricFamilies(strings.NewReader(w["metrics"]))
		if err != nil {
			t.Fatal(err)
		}
		var families []*dto.MetricFamily
		for _, family := range byName {
			families = append(families, family)
		}
		source.Metrics = ReadMetrics(families)
	}
	return Look(source)
}

func endpoint(a netip.AddrPort) sockdiag.Endpoint {
	return sockdiag.Endpoint{IP: a.Addr().As16(), Port: a.Port()}
}

// hiddenMPTCP is why sock_diag doesn't tell of Multipath TCP.
func (w world) hiddenMPTCP() string {
	if strings.HasSuffix(w["sockets"], " hidden") {
		return "the kernel does not tell"
	}
	return ""
}

// sockets plays sock_diag.
func (w world) sockets(each func(*sockdiag.Socket)) error {
	switch w["sockets"] {
	case "-":
		return fmt.Errorf("sock_diag is closed")
	case "none":
		return nil
	}
	local := netip.MustParseAddrPort("127.0.0.1:8080")
	s := sockdiag.Socket{Local: endpoint(local), State: sockdiag.Listen, Inode: 77}
	var mptcp string
	if _, err := fmt.Sscan(w["sockets"], &s.Limit, &s.Queue, &s.Drops, &mptcp); err != nil {
		return err
	}
	s.MPTCP = mptcp == "true"
	each(&s)
	var waiting int
	if _, err := fmt.Sscan(w["time_wait"], &waiting); err != nil {
		return err
	}
	for i := range waiting {
		port := uint16(32768 + i)
		each(&sockdiag.Socket{Local: endpoint(netip.AddrPortFrom(local.Addr(), port)), Remote: endpoint(netip.MustParseAddrPort("10.0.0.1:5432")), State: sockdiag.TimeWait})
		// The same many were accepted: they are nobody's shortage of ports.
		each(&sockdiag.Socket{Local: endpoint(local), Remote: endpoint(netip.AddrPortFrom(local.Addr(), port)), State: sockdiag.TimeWait})
	}
	return nil
}
