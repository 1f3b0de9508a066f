//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The stages of every request, from the SYN to the acknowledgement of the response. The
 * programs of accept, http and socketio, which run anyway, see all of it but that: what
 * looks at acknowledgements is here, to run only where this collector does.
 */
#include "record.h"
#include "lifetime.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/*
 * Runs for every segment that an established connection receives, before the kernel looks
 * at it. Who only receives has nothing that is not acknowledged, and who sends a lot has
 * seldom all: for them it ends at the first two questions. The header would not do: segments
 * that waited while the socket was in use are merged, and it stays that of the first.
 */
SEC("tp_btf/tcp_probe")
int BPF_PROG(acknowledged, struct sock *sk, const struct sk_buff *skb)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct connection *connection;
	__u64 address = (__u64)sk;

	if (!tp || tp->snd_una == tp->write_seq ||
	    BPF_CORE_READ((const struct tcp_skb_cb *)&skb->cb, ack_seq) != tp->write_seq)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &address);
	if (!connection)
		return 0;
	connection->acknowledged = tp->write_seq;
	barrier();
	if (connection->ack_since)
		response_acknowledged(connection, bpf_ktime_get_ns());
	return 0;
}

/* A connection that is closed, or not established yet (Fast Open), receives elsewhere. Its
 * state changes when its FIN, or its SYN, is acknowledged, and all before it. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old_state, int new_state)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((struct sock *)sk);
	struct connection *connection;
	__u64 address = (__u64)sk;

	/* What is there at its beginning is of another, see connection_begins in socketio. */
	if (!tp || begins(old_state, new_state) || tp->snd_una != tp->write_seq)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &address);
	if (connection && connection->ack_since)
		response_acknowledged(connection, bpf_ktime_get_ns());
	return 0;
}
