//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * What a connection's peer may still send, and how much the application reads
 * at a time.
 *
 * The window is looked at where a read has copied data and not yet freed the
 * memory, with the socket locked: what the peer was left with while the data
 * waited. Once it is 0 it stays 0, and rcv_nxt stands still, until a read frees
 * memory (or, rarely, memory comes back by itself: SO_RCVBUF raised, the host's
 * shortage of TCP memory over). So each time that the kernel shuts a window it
 * is shut here too, at the next read or at the end of the connection, and
 * rcv_nxt tells one time from the next: they add up to TCPToZeroWindowAdv in
 * /proc/net/netstat. The windows of connections that nobody reads are looked at
 * before each scrape.
 */
#include "lifetime.h"
#include "read.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define MAX_PROCESSES 2048
#define MAX_CONNECTIONS 65536

/* Bytes; an option of the collector. */
const volatile __u64 collapse_below = 4096;

HISTOGRAM(receive_window_bytes, __u32, MAX_PROCESSES, 32);
HISTOGRAM(read_size_bytes, __u32, MAX_PROCESSES, 32);
COUNTER(zero_windows, __u32, MAX_PROCESSES);
COUNTER(collapses, __u32, MAX_PROCESSES);

struct connection {
	__u32 tgid;      /* the process that has read last */
	__u32 low;       /* the window was below collapse_below when it was last looked at */
	__u32 collapses; /* so far */
	__u32 was_zero;  /* at least once */
	__u32 zero_at;   /* rcv_nxt of the last time */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, __u64); /* struct sock */
	__type(value, struct connection);
} connections SEC(".maps");

enum episode_kind {
	EPISODE_ZERO,
	EPISODE_COLLAPSE,
};

/* An episode that a read and the look before a scrape may see at the same
 * moment: who enters it here first counts it. */
struct episode {
	__u64 sk;
	__u32 kind;
	__u32 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct episode);
	__type(value, __u8);
} episodes SEC(".maps");

static __always_inline bool is_first_to_see(__u64 sk, __u32 kind, __u32 number)
{
	struct episode episode = {.sk = sk, .kind = kind, .number = number};
	__u8 yes = 1;

	return bpf_map_update_elem(&episodes, &episode, &yes, BPF_NOEXIST) != -EEXIST;
}

static __always_inline void look(struct connection *connection, __u64 sk, __u32 window, __u32 rcv_wnd, __u32 rcv_nxt)
{
	__u32 tgid = connection->tgid;

	if (!rcv_wnd && !(connection->was_zero && connection->zero_at == rcv_nxt)) {
		if (is_first_to_see(sk, EPISODE_ZERO, rcv_nxt))
			add_to(&zero_windows, &tgid, 1);
		connection->zero_at = rcv_nxt;
		connection->was_zero = 1;
	}
	if (window >= collapse_below) {
		connection->low = 0;
	} else if (!connection->low) {
		if (is_first_to_see(sk, EPISODE_COLLAPSE, connection->collapses)) {
			connection->collapses++;
			add_to(&collapses, &tgid, 1);
		}
		connection->low = 1;
	}
}

/* tcp_receive_window(), include/net/tcp.h */
static __always_inline __u32 receive_window(const struct tcp_sock *tp)
{
	__s32 window = tp->rcv_wup + tp->rcv_wnd - tp->rcv_nxt;

	return window > 0 ? window : 0;
}

/* The process that works on a socket, 0 where none does: a softirq runs in the
 * name of whom it has interrupted. */
static __always_inline __u32 process_at(const struct sock *sk)
{
	return sk->sk_lock.owned ? bpf_get_current_pid_tgid() >> 32 : 0;
}

/* A connection begins with a window of up to 64 KiB, or as much as its buffer has
 * room for (tcp_select_initial_window()): one that began lower has not fallen. */
static __always_inline struct connection fresh_connection(const struct tcp_sock *tp, __u32 tgid)
{
	struct connection connection = {.tgid = tgid};

	connection.low = tp->window_clamp < collapse_below || collapse_below > 65535;

	return connection;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(data_copied, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	__u32 tgid = process_at(sk), window;
	struct connection *connection;
	__u64 address = (__u64)sk;

	if (!tp)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &address);
	if (!connection) {
		struct connection fresh = fresh_connection(tp, tgid);

		bpf_map_update_elem(&connections, &address, &fresh, BPF_NOEXIST);
		connection = bpf_map_lookup_elem(&connections, &address);
		if (!connection) {
			count_lost(LOST_MAP_FULL);
			return 0;
		}
	}
	if (!tgid)
		tgid = connection->tgid;
	else if (connection->tgid != tgid)
		connection->tgid = tgid;
	window = receive_window(tp);
	OBSERVE(receive_window_bytes, &tgid, window);
	look(connection, address, window, tp->rcv_wnd, tp->rcv_nxt);
	return 0;
}

static __always_inline bool has_had_a_window(int state)
{
	return state != TCP_LISTEN && state != TCP_SYN_SENT && state != TCP_SYN_RECV && state != TCP_CLOSE;
}

/* The last look, before the RST for unread data announces another window. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(connection_closes, struct sock *sk, int old_state, int new_state)
{
	struct connection *connection, unread;
	__u64 address = (__u64)sk;
	struct tcp_sock *tp;

	if (new_state != TCP_CLOSE || !has_had_a_window(old_state))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &address);
	if (connection) {
		look(connection, address, receive_window(tp), tp->rcv_wnd, tp->rcv_nxt);
	} else if (!tp->rcv_wnd) {
		unread = fresh_connection(tp, process_at(sk));
		look(&unread, address, 0, 0, tp->rcv_nxt);
	}
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&connections, &address);
	return 0;
}

begin_anew_in(connections)
remove_ended_from(connections)

/* Run before each scrape over the map itself: a process that hangs reads no
 * more, and its connections' windows are what tells. Nothing is locked here;
 * that the next byte expected is the same before and after makes sure that the
 * two belong together. */
SEC("iter/bpf_map_elem")
int unread_connections(struct bpf_iter__bpf_map_elem *ctx)
{
	struct connection *connection = ctx->value;
	__u64 *address = ctx->key;
	struct tcp_sock *tp;
	__u32 rcv_nxt;

	if (!address || !connection)
		return 0;
	tp = (struct tcp_sock *)*address;
	rcv_nxt = BPF_CORE_READ(tp, rcv_nxt);
	if (!BPF_CORE_READ(tp, rcv_wnd) && BPF_CORE_READ(tp, rcv_nxt) == rcv_nxt)
		look(connection, *address, 0, 0, rcv_nxt);
	return 0;
}

/* ------------------------------------------------------- how much is read */

static __always_inline int read_returned(__u64 sk, int copied, int flags)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (is_data(copied, flags))
		OBSERVE(read_size_bytes, &tgid, copied);
	return 0;
}
