// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"regexp"
	"slices"
)

// Kind is what a rule is about: it is judged once for each.
type Kind string

// The kinds, in the order of the reference.
const (
	Host     Kind = "host"
	Listener Kind = "listener"
	Service  Kind = "service"
	Server   Kind = "server"
	Device   Kind = "device"
)

// Kinds lists them all.
var Kinds = []Kind{Host, Listener, Service, Server, Device}

// What rules can name besides fields.
const (
	sysctlRoot  = "sysctl"
	netstatRoot = "netstat"
)

// Field is something that is known of each subject of a kind, under KIND.NAME.
type Field struct {
	Name string
	Type Type
	Help string
}

// fields are all fields. What is read (read*.go) fills every one, with a value
// or with the reason why there is none.
var fields = map[Kind][]Field{
	Host: {
		{"listeners", Number, "Listening TCP sockets."},
		{"fastopen_listeners", Number, "Those with a Fast Open queue (TCP_FASTOPEN)."},
		{"time_wait", Number, "Sockets in TIME_WAIT."},
		{"time_wait_outgoing", Number, "Those whose connection was opened here: no socket listens on their local port."},
		{"time_wait_busiest", Number, "The most outgoing ones in TIME_WAIT to one destination. TIME_WAIT lasts 60 s, so a 60th of it is closed each second."},
		{"busiest_destination", Text, "The address and port of that destination."},
		{"ephemeral_ports", Number, "Ports that connect() chooses from: net.ipv4.ip_local_port_range."},
		{"softnet_processed", Number, "Packets that all CPUs have processed since boot (softnet_stat)."},
		{"softnet_dropped", Number, "Packets dropped since boot because a CPU's backlog was full."},
		{"softnet_squeezed", Number, "Times since boot that a CPU had packets left and no budget."},
	},
	Listener: {
		{"address", Text, "Address and port, 127.0.0.1:8080 or [::]:8080."},
		{"port", Number, "Port."},
		{"loopback", Bool, "Whether the address is one of loopback."},
		{"backlog", Number, "Limit of the accept queue, which holds one more (sk_max_ack_backlog)."},
		{"queue", Number, "Connections that wait to be accepted (sk_ack_backlog)."},
		{"drops", Number, "What the socket has dropped (sk_drops): 1 for a refused SYN, 2 for a refused ACK, and with TCP_DEFER_ACCEPT 1 for each bare ACK, which is no harm."},
		{"mptcp", Bool, "Whether it takes Multipath TCP."},
		{"fastopen", Number, "Limit of its Fast Open queue; 0 without TCP_FASTOPEN."},
		{"service", Text, "Service that owns it."},
		{"built_by_go", Bool, "Whether its owner's executable was built by Go."},
	},
	Service: {
		{"name", Text, "Name from tcpslo.yml, else the base name of the executable."},
		{"pid", Number, "The process nearest to its limit of open files."},
		{"open_files", Number, "Its open file descriptors."},
		{"nofile_limit", Number, "Its limit of open files (RLIMIT_NOFILE, soft)."},
		{"read_size", Number, "Mean bytes of a read from a TCP socket."},
		{"zero_windows", Number, "Times that a receive window closed."},
		{"window_collapses", Number, "Times that a receive window collapsed."},
	},
	Server: {
		{"service", Text, "Service that the http.Server is of."},
		{"address", Text, "http.Server.Addr."},
		{"read_header_timeout", Number, "http.Server.ReadHeaderTimeout in seconds, 0 for none; ReadTimeout then serves."},
		{"read_timeout", Number, "http.Server.ReadTimeout in seconds, 0 for none."},
		{"write_timeout", Number, "http.Server.WriteTimeout in seconds, 0 for none."},
		{"idle_timeout", Number, "http.Server.IdleTimeout in seconds, 0 for none; ReadTimeout then serves."},
	},
	Device: {
		{"name", Text, "Name of the network interface."},
		{"rx_dropped", Number, "Received packets dropped (rx_dropped)."},
		{"rx_missed", Number, "Packets that found the receive ring full (rx_missed_errors)."},
		{"rx_fifo", Number, "Packets lost to an overrun (rx_fifo_errors)."},
		{"ring_rx", Number, "Entries of the receive ring."},
		{"ring_rx_max", Number, "Entries that the receive ring may have."},
	},
}

// Fields returns what is known of each subject of a kind.
func Fields(kind Kind) []Field { return slices.Clone(fields[kind]) }

func fieldOf(kind Kind, name string) (Field, bool) {
	i := slices.IndexFunc(fields[kind], func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return fields[kind][i], true
}

func fieldNames(kind Kind) []string {
	var all []string
	for _, f := range fields[kind] {
		all = append(all, f.Name)
	}
	return all
}

// counter is a name as nstat(8) prints it: the group and the counter together.
var counter = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)

func validCounter(name string) bool { return counter.MatchString(name) }
