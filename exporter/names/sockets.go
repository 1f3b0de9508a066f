// SPDX-License-Identifier: Apache-2.0

package names

// What the collector "sockets" tells. A series of SocketCount stays, at 0, for as
// long as its listener has a socket in another state.
var (
	SocketCount     = Metric{"tcp_sockets", "gauge", "TCP sockets by state, as ss shows them: those of a listener, and, with an empty listener, outgoing connections by the service that holds them (TIME_WAIT has no holder any more: its service is empty). A request in the SYN queue is syn_recv.", []string{"service", "listener", "netns", "state"}}
	CloseWaitOldest = Metric{"tcp_close_wait_oldest_seconds", "gauge", "For how long at least the oldest CLOSE_WAIT socket has been waiting for its service to close it, seconds; absent without one.", []string{"service", "listener", "netns"}}

	TimeWaitSockets  = Metric{"tcp_time_wait_sockets", "gauge", "Sockets that the kernel counts against tcp_time_wait_limit: those in TIME_WAIT, and in FIN_WAIT2 without a holder.", []string{"netns"}}
	TimeWaitLimit    = Metric{"tcp_time_wait_limit", "gauge", "net.ipv4.tcp_max_tw_buckets: more TIME_WAIT sockets there can't be.", []string{"netns"}}
	TimeWaitOverflow = Metric{"tcp_time_wait_overflow_total", "counter", "Connections that ended without TIME_WAIT because tcp_time_wait_limit was reached (TCPTimeWaitOverflow).", []string{"netns"}}

	EphemeralPortsUsed          = Metric{"ephemeral_ports_used", "gauge", "Different local ports among ephemeral_ports_available that a TCP socket of any state has, TIME_WAIT and listeners included.", []string{"netns"}}
	EphemeralPortsAvailable     = Metric{"ephemeral_ports_available", "gauge", "Ports that the kernel may give to outgoing connections, used or not: net.ipv4.ip_local_port_range less net.ipv4.ip_local_reserved_ports.", []string{"netns"}}
	EphemeralPortsByDestination = Metric{"ephemeral_ports_used_by_destination", "gauge", "Ephemeral ports that connections from one address to one destination have, TIME_WAIT included, of the busiest destinations; the rest is destination=\"other\". When it reaches ephemeral_ports_available, connect fails with EADDRNOTAVAIL.", []string{"netns", "source", "destination"}}

	SocketsCounted = Metric{"sockets_last_count_timestamp_seconds", "gauge", "When the sockets of this scrape were counted, in seconds since 1970.", nil}
)

// Sockets counts the TCP sockets of a machine.
var Sockets = Collector{
	Name: "sockets", Source: "sock_diag",
	Help: "TCP sockets by state, service and listener; TIME_WAIT against its limit; ephemeral ports; connections that a service forgets to close.",
	Metrics: []Metric{
		SocketCount, CloseWaitOldest, TimeWaitSockets, TimeWaitLimit, TimeWaitOverflow,
		EphemeralPortsUsed, EphemeralPortsAvailable, EphemeralPortsByDestination, SocketsCounted,
	},
}
