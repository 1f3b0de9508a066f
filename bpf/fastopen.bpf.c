//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * TCP Fast Open (RFC 7413), and how long the first data of a connection waits
 * for the application's first read. With Fast Open that data comes with the SYN
 * and lies in the receive queue before accept() returns the connection.
 *
 * A connection is met when it is put into the accept queue, where its listener
 * is known, and forgotten at the first read of its data. Every program that
 * follows a connection runs while the kernel holds the connection's lock, so it
 * sees things in their order although CPUs change.
 */
#define LOST_REASONS LOST_ARRIVAL_NOT_SEEN,
#include "lifetime.h"
#include "listening.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct first_read_key {
	struct listener_key key;
	__u32 fastopen; /* 1 where the connection was queued before its handshake was complete */
	__u32 unused;
};

/* A connection of which nothing was read yet. */
struct unread {
	struct first_read_key key;
	__u64 arrived_at; /* CLOCK_MONOTONIC, nanoseconds; 0: no data yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64); /* struct sock of the connection */
	__type(value, struct unread);
} unread_connections SEC(".maps");

HISTOGRAM(first_read_nanoseconds, struct first_read_key, MAX_LISTENERS, 320);
COUNTER(fastopen_accepts, struct listener_key, MAX_LISTENERS);

enum fallback_reason {
	COOKIE_REQUESTED = 1,
	COOKIE_INVALID = 2,
	QUEUE_FULL = 3,
};

struct fallback_key {
	struct listener_key key;
	__u32 reason;
	__u32 unused;
};

COUNTER(fastopen_fallbacks, struct fallback_key, MAX_LISTENERS);

/* ------------------------------------------------ a connection is queued */

/*
 * The child socket that a SYN or a final ACK has just made. What happens to it
 * next, up to its being queued, happens in the same softirq. Whoever handles
 * that takes it from here, so that it is handled once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} new_child SEC(".maps");

static __always_inline struct sock *swap_child(struct sock *child)
{
	__u32 first = 0;
	__u64 *slot = bpf_map_lookup_elem(&new_child, &first);
	struct sock *before;

	if (!slot)
		return NULL;
	before = (struct sock *)*slot;
	*slot = (__u64)child;
	return before;
}

static __always_inline int queued(const struct sock *listener, const struct sock *child, bool fastopen)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)child;
	struct unread unread = {};
	__u64 address = (__u64)child;

	read_listener_key(&unread.key.key, listener);
	unread.key.fastopen = fastopen;
	if (fastopen)
		add_to(&fastopen_accepts, &unread.key.key, 1);
	/* What came with the SYN or the final ACK is in the receive queue by now. */
	if (BPF_CORE_READ(tp, rcv_nxt) != BPF_CORE_READ(tp, copied_seq))
		unread.arrived_at = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&unread_connections, &address, &unread, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

/* ------------------------------------- what became of a Fast Open request */

/* What tcp_try_fastopen() was called with: its return tells the rest. */
struct attempt {
	__u64 listener, cookie;
	int cookie_length; /* -1: none in the SYN; 0: the client asks for one */
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct attempt);
} attempts SEC(".maps");

static __always_inline struct attempt *this_cpu_attempt(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&attempts, &first);
}

static __always_inline int attempt_begins(const struct sock *listener, const struct tcp_fastopen_cookie *cookie)
{
	struct attempt *attempt = this_cpu_attempt();

	if (attempt) {
		attempt->listener = (__u64)listener;
		attempt->cookie = (__u64)cookie;
		attempt->cookie_length = BPF_CORE_READ(cookie, len);
	}
	return 0;
}

/*
 * tcp_try_fastopen() (net/ipv4/tcp_fastopen.c) returns the connection, or NULL
 * for a handshake as ever. It then leaves -1 in the length where it looked no
 * further than the sysctl and the listener's queue, else the length of the right
 * cookie.
 */
static __always_inline int attempt_ends(const struct sock *child)
{
	struct attempt *attempt = this_cpu_attempt();
	const struct inet_connection_sock *listener;
	const struct tcp_fastopen_cookie *cookie;
	struct fallback_key key = {};

	if (!attempt || !attempt->listener)
		return 0;
	listener = (const struct inet_connection_sock *)attempt->listener;
	cookie = (const struct tcp_fastopen_cookie *)attempt->cookie;
	attempt->listener = 0;
	if (child) {
		swap_child(NULL); /* or the tracepoint that comes next counts it again */
		return queued((const struct sock *)listener, child, true);
	}
	if (attempt->cookie_length < 0)
		return 0;
	if (BPF_CORE_READ(cookie, len) >= 0) {
		key.reason = attempt->cookie_length ? COOKIE_INVALID : COOKIE_REQUESTED;
	} else {
		int limit = BPF_CORE_READ(listener, icsk_accept_queue.fastopenq.max_qlen);

		if (!limit || BPF_CORE_READ(listener, icsk_accept_queue.fastopenq.qlen) < limit)
			return 0; /* Fast Open is off */
		key.reason = QUEUE_FULL;
	}
	read_listener_key(&key.key, (const struct sock *)listener);
	add_to(&fastopen_fallbacks, &key, 1);
	return 0;
}

SEC("fentry/tcp_try_fastopen")
int BPF_PROG(fastopen_tried__fentry, struct sock *sk, struct sk_buff *skb, struct request_sock *req,
	     struct tcp_fastopen_cookie *foc)
{
	return attempt_begins(sk, foc);
}

SEC("fexit/tcp_try_fastopen")
int BPF_PROG(fastopen_tried__fexit, struct sock *sk, struct sk_buff *skb, struct request_sock *req,
	     struct tcp_fastopen_cookie *foc, void *dst, struct sock *ret)
{
	return attempt_ends(ret);
}

SEC("kprobe/tcp_try_fastopen")
int BPF_KPROBE(fastopen_tried__kprobe, struct sock *sk, struct sk_buff *skb, struct request_sock *req,
	       struct tcp_fastopen_cookie *foc)
{
	return attempt_begins(sk, foc);
}

SEC("kretprobe/tcp_try_fastopen")
int BPF_KRETPROBE(fastopen_tried__kretprobe, struct sock *ret)
{
	return attempt_ends(ret);
}

/* ---------------------------- a listener or a connection has something new */

static __always_inline int arrived(const struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct unread *unread = bpf_map_lookup_elem(&unread_connections, &address);

	if (unread && !unread->arrived_at)
		unread->arrived_at = bpf_ktime_get_ns();
	return 0;
}

/* tcp_conn_request() queues a Fast Open connection in state SYN_RECV, a moment
 * after it was made; others are ESTABLISHED when their listener is woken. */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(data_ready__tracepoint, const struct sock *sk)
{
	struct sock *child;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return arrived(sk);
	child = swap_child(NULL);
	if (!child || BPF_CORE_READ(child, __sk_common.skc_num) != sk->__sk_common.skc_num)
		return 0;
	return queued(sk, child, BPF_CORE_READ(child, __sk_common.skc_state) == TCP_SYN_RECV);
}

/* Before Linux 6.3: called for each connection that was just queued, but for
 * those of Fast Open, and what sk->sk_data_ready points to. */
SEC("fentry/tcp_child_process")
int BPF_PROG(data_ready__child, struct sock *listener, struct sock *child)
{
	return is_tcp_listener(listener) ? queued(listener, child, false) : 0;
}

SEC("fentry/sock_def_readable")
int BPF_PROG(data_ready__fentry, struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? arrived(sk) : 0;
}

SEC("kprobe/tcp_child_process")
int BPF_KPROBE(data_ready__child_kprobe, struct sock *listener, struct sock *child)
{
	return is_tcp_listener(listener) ? queued(listener, child, false) : 0;
}

SEC("kprobe/sock_def_readable")
int BPF_KPROBE(data_ready__kprobe, struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? arrived(sk) : 0;
}

/* --------------------------------------------------- the application reads */

/* In each read that has taken data from the receive queue, or peeked at it. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(first_read, const struct sock *sk)
{
	__u64 address = (__u64)sk, now;
	struct unread *unread = bpf_map_lookup_elem(&unread_connections, &address), found;

	if (!unread)
		return 0;
	now = bpf_ktime_get_ns();
	found = *unread;
	bpf_map_delete_elem(&unread_connections, &address);
	if (!found.arrived_at) {
		count_lost(LOST_ARRIVAL_NOT_SEEN);
		return 0;
	}
	OBSERVE(first_read_nanoseconds, &found.key, now - found.arrived_at);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&unread_connections, &address);
	return 0;
}

remove_ended_from(unread_connections)

/* ------------------------------------------- the queues of the listeners */

/* Every listening socket is remembered, for TCP_FASTOPEN can be set at any time. */
struct fastopen_state {
	__u32 connections; /* whose handshake is not complete */
	__u32 limit;       /* at least 1: listeners without Fast Open are left out */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTENERS);
	__type(key, struct listener_id);
	__type(value, struct fastopen_state);
} fastopen_queues SEC(".maps");

static __always_inline void meet_listener(const struct sock *sk)
{
	struct listener_id id = {};

	identify(&id, sk);
	if (remember(sk, &id))
		count_lost(LOST_MAP_FULL);
}

/* The listeners that were there before the probe. */
SEC("iter/task_file")
int existing_listeners(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = listener_of_file(ctx->file);

	if (sk)
		meet_listener(sk);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old_state, int new_state)
{
	struct listener_id *id;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (old_state == TCP_LISTEN && new_state == TCP_SYN_RECV) {
		swap_child((struct sock *)sk);
	} else if (new_state == TCP_LISTEN) {
		meet_listener(sk);
	} else if (old_state == TCP_LISTEN && new_state == TCP_CLOSE) {
		id = remembered(sk);
		if (!id)
			return 0;
		bpf_map_delete_elem(&fastopen_queues, id);
		forget(sk);
	}
	return 0;
}

/* Run at each scrape over the map itself, as in listen.bpf.c. */
SEC("iter/bpf_map_elem")
int refresh_queues(struct bpf_iter__bpf_map_elem *ctx)
{
	struct listener_id *value = ctx->value, id;
	const struct inet_connection_sock *listener;
	struct fastopen_state state = {};
	__u64 *address = ctx->key;

	if (!value || !address)
		return 0;
	id = *value; /* Linux 5.10 takes no key but from the stack or a map */
	listener = (const struct inet_connection_sock *)*address;
	if (is_tcp_listener((const struct sock *)listener))
		state.limit = BPF_CORE_READ(listener, icsk_accept_queue.fastopenq.max_qlen);
	state.connections = BPF_CORE_READ(listener, icsk_accept_queue.fastopenq.qlen);
	if (!state.limit)
		bpf_map_delete_elem(&fastopen_queues, &id);
	else if (bpf_map_update_elem(&fastopen_queues, &id, &state, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}
