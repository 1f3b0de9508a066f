//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The queues of every listening TCP socket and what the kernel refused.
 *
 * Refused connections: a SYN that finds a queue full is dropped without a
 * kfree_skb event on every kernel (it is consume_skb()'d), but the listener's
 * sk_drops rises. sk_drops alone is not the truth either: a final ACK that
 * finds the accept queue full counts twice, and a bare ACK that
 * TCP_DEFER_ACCEPT swallows counts once although nothing is lost; both then
 * pass discard_and_relse in tcp_v4_rcv()/tcp_v6_rcv(). Hence, exactly:
 *
 *     listen drops = sk_drops - packets discarded there
 *
 * of which those at the final ACK are told apart by handshake_refused.
 */
#include "listening.h"
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct listener_state {
	__u64 sk;
	__u64 first_drops; /* sk_drops when the probe met the socket */
	__u64 discarded;   /* packets of this listener that reached discard_and_relse */
	__u64 handshake_refused; /* final ACKs that found the accept queue full */
	__u64 syn_refused;
	__u64 seen; /* what syn_refused will be if the next look says so too */
	__u32 accept_queue;
	__u32 accept_queue_limit;
	__u32 syn_queue;
	__u32 closed;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTENERS);
	__type(key, struct listener_id);
	__type(value, struct listener_state);
} listeners SEC(".maps");

HISTOGRAM(accept_queue_depth, struct listener_key, MAX_LISTENERS, 192);
HISTOGRAM(syn_queue_depth, struct listener_key, MAX_LISTENERS, 192);
HISTOGRAM(handshake_nanoseconds, struct listener_key, MAX_LISTENERS, 320);
COUNTER(synack_retransmits, struct listener_key, MAX_LISTENERS);

/* Address ranges of the two functions, set from kallsyms by the exporter. */
const volatile __u64 ksym_begin_tcp_v4_rcv = 0, ksym_end_tcp_v4_rcv = 0;
const volatile __u64 ksym_begin_tcp_v6_rcv = 0, ksym_end_tcp_v6_rcv = 0;

static __always_inline __u64 refused_so_far(const struct listener_state *state, const struct sock *sk)
{
	__u64 drops = (__u32)BPF_CORE_READ(sk, sk_drops.counter);

	return drops - state->first_drops - state->discarded - state->handshake_refused;
}

static __always_inline void look(struct listener_state *state, const struct sock *sk)
{
	state->seen = refused_so_far(state, sk);
	state->accept_queue = BPF_CORE_READ(sk, sk_ack_backlog);
	state->accept_queue_limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	state->syn_queue = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_accept_queue.qlen.counter);
}

/* sk_drops rises a moment before the discard of the packet is counted. A counter
 * can't step back, so what it has risen to must be seen twice. */
static __always_inline void confirm(struct listener_state *state, const struct sock *sk)
{
	__u64 refused;

	if ((__s64)(state->seen - state->syn_refused) <= 0)
		return;
	refused = refused_so_far(state, sk);
	if ((__s64)(refused - state->seen) > 0)
		refused = state->seen;
	if ((__s64)(refused - state->syn_refused) > 0)
		state->syn_refused = refused;
}

static __always_inline struct listener_state *meet_listener(const struct sock *sk, bool fresh)
{
	struct listener_id id = {}, *known = remembered(sk);
	struct listener_state state = {.sk = (__u64)sk};

	if (known && !fresh)
		return bpf_map_lookup_elem(&listeners, known);
	identify(&id, sk);
	state.first_drops = (__u32)BPF_CORE_READ(sk, sk_drops.counter);
	look(&state, sk);
	if (bpf_map_update_elem(&listeners, &id, &state, BPF_ANY) || remember(sk, &id))
		count_lost(LOST_MAP_FULL);
	return bpf_map_lookup_elem(&listeners, &id);
}

/* The listeners that were there before the probe. */
SEC("iter/task_file")
int existing_listeners(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = listener_of_file(ctx->file);

	if (sk)
		meet_listener(sk, false);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old_state, int new_state)
{
	struct listener_state *state;
	struct listener_id *id;

	if (old_state == TCP_SYN_RECV && new_state == TCP_ESTABLISHED) {
		remember_child(sk);
		return 0;
	}
	if (new_state == TCP_LISTEN && sk->sk_protocol == IPPROTO_TCP) {
		meet_listener(sk, true);
		return 0;
	}
	if (old_state != TCP_LISTEN || new_state != TCP_CLOSE)
		return 0;
	id = remembered(sk);
	if (!id)
		return 0;
	state = bpf_map_lookup_elem(&listeners, id);
	if (state) {
		look(state, sk);
		confirm(state, sk);
		state->accept_queue = state->accept_queue_limit = state->syn_queue = 0;
		state->closed = 1;
	}
	forget(sk);
	return 0;
}

/* Run at each scrape over the map itself: reads every listener of every
 * network namespace without entering one and without taking a socket lock. */
SEC("iter/bpf_map_elem")
int refresh_listeners(struct bpf_iter__bpf_map_elem *ctx)
{
	struct listener_state *state = ctx->value;
	struct listener_id *id = ctx->key;
	struct sock *sk;

	if (!id || !state || state->closed)
		return 0;
	sk = (struct sock *)state->sk;
	if (is_tcp_listener(sk) && BPF_CORE_READ(sk, __sk_common.skc_num) == id->key.listener.port)
		look(state, sk);
	else
		state->closed = 1; /* the close event was missed: keep what was last read */
	return 0;
}

/* Run right after it. */
SEC("iter/bpf_map_elem")
int confirm_drops(struct bpf_iter__bpf_map_elem *ctx)
{
	struct listener_state *state = ctx->value;

	if (state && !state->closed)
		confirm(state, (struct sock *)state->sk);
	return 0;
}

/* ------------------------------------------------- a connection is queued */

static __always_inline int queued(const struct sock *listener, const struct sock *child)
{
	struct listener_key key = {};
	__u32 srtt;

	meet_listener(listener, false);
	read_listener_key(&key, listener);
	OBSERVE(accept_queue_depth, &key, BPF_CORE_READ(listener, sk_ack_backlog));

	/* tcp_synack_rtt_meas() seeds srtt_us (stored times eight) with the time from
	 * SYN-ACK to ACK, unless the SYN-ACK was repeated or a cookie was used. */
	srtt = child ? BPF_CORE_READ((struct tcp_sock *)child, srtt_us) : 0;
	if (srtt)
		OBSERVE(handshake_nanoseconds, &key, (__u64)(srtt >> 3) * 1000);
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(conn_queued__tracepoint, const struct sock *sk)
{
	if (sk->__sk_common.skc_state != TCP_LISTEN || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	return queued(sk, queued_child(sk));
}

SEC("fentry/tcp_child_process")
int BPF_PROG(conn_queued__fentry, struct sock *listener, struct sock *child)
{
	return is_tcp_listener(listener) ? queued(listener, child) : 0;
}

SEC("kprobe/tcp_child_process")
int BPF_KPROBE(conn_queued__kprobe, struct sock *listener, struct sock *child)
{
	return is_tcp_listener(listener) ? queued(listener, child) : 0;
}

/* ------------------------------------------------------- a SYN has arrived */

static __always_inline int syn_arrived(const struct sock *listener)
{
	struct listener_key key = {};

	read_listener_key(&key, listener);
	OBSERVE(syn_queue_depth, &key,
		(__u32)BPF_CORE_READ((struct inet_connection_sock *)listener, icsk_accept_queue.qlen.counter));
	return 0;
}

SEC("fentry/tcp_conn_request")
int BPF_PROG(syn_received__fentry, void *rsk_ops, void *af_ops, struct sock *sk)
{
	return syn_arrived(sk);
}

SEC("kprobe/tcp_conn_request")
int BPF_KPROBE(syn_received__kprobe, void *rsk_ops, void *af_ops, struct sock *sk)
{
	return syn_arrived(sk);
}

/* ------------------------------------------------- a handshake is discarded */

static __always_inline int discarded(const struct sock *listener)
{
	struct listener_state *state = meet_listener(listener, false);

	if (state)
		__sync_fetch_and_add(&state->discarded, 1);
	return 0;
}

static __always_inline bool in_tcp_rcv(void *location)
{
	__u64 at = (__u64)location;

	return (at >= ksym_begin_tcp_v4_rcv && at < ksym_end_tcp_v4_rcv) ||
	       (at >= ksym_begin_tcp_v6_rcv && at < ksym_end_tcp_v6_rcv);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(handshake_discarded__tracepoint, struct sk_buff *skb, void *location, int reason, struct sock *rx_sk)
{
	/* A packet freed elsewhere, such as a RST in tcp_v4_do_rcv(), is not in sk_drops. */
	if (rx_sk && rx_sk->__sk_common.skc_state == TCP_LISTEN && in_tcp_rcv(location))
		return discarded(rx_sk);
	return 0;
}

/* Before Linux 6.11 kfree_skb does not name the socket. There tcp_check_req()
 * returning NULL without having lost the request to another CPU is what sends
 * tcp_v4_rcv() to discard_and_relse. For a connection that Fast Open made, it is
 * called with the connection and not with a listener. */
static __always_inline int checked(const struct sock *sk, const struct sock *ret, const bool *req_stolen)
{
	bool stolen = false;

	if (ret || !is_tcp_listener(sk))
		return 0;
	bpf_probe_read_kernel(&stolen, sizeof(stolen), req_stolen);
	return stolen ? 0 : discarded(sk);
}

/* Not BPF_PROG(): the verifier of Linux 5.10 refuses to load an argument that
 * points to anything but a struct, as the fifth does, unless it is read as
 * memory. */
SEC("fexit/tcp_check_req")
int handshake_discarded__fexit(__u64 *ctx)
{
	bool *req_stolen = NULL;

	bpf_probe_read_kernel(&req_stolen, sizeof(req_stolen), &ctx[4]);
	return checked((struct sock *)ctx[0], (struct sock *)ctx[5], req_stolen);
}

/* Where only kprobes serve, what a function was called with waits here for its
 * return. All of them run in the same softirq. */
struct calls {
	__u64 check_req_sk, check_req_stolen;
	__u64 v4_listener, v6_listener;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct calls);
} calls SEC(".maps");

static __always_inline struct calls *this_cpu_calls(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&calls, &first);
}

SEC("kprobe/tcp_check_req")
int BPF_KPROBE(handshake_discarded__kprobe, struct sock *sk, struct sk_buff *skb, struct request_sock *req,
	       bool fastopen, bool *req_stolen)
{
	struct calls *call = this_cpu_calls();

	if (call) {
		call->check_req_sk = (__u64)sk;
		call->check_req_stolen = (__u64)req_stolen;
	}
	return 0;
}

SEC("kretprobe/tcp_check_req")
int BPF_KRETPROBE(handshake_discarded__kretprobe, struct sock *ret)
{
	struct calls *call = this_cpu_calls();

	return call ? checked((struct sock *)call->check_req_sk, ret, (bool *)call->check_req_stolen) : 0;
}

/* ------------------------------- the final ACK finds the accept queue full */

static __always_inline int refused(const struct sock *listener)
{
	struct listener_state *state = meet_listener(listener, false);

	if (state)
		__sync_fetch_and_add(&state->handshake_refused, 1);
	return 0;
}

/* Since Linux 6.15 the drop has a reason of its own. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(handshake_refused__tracepoint, struct sk_buff *skb, void *location, int reason, struct sock *rx_sk)
{
	if (rx_sk && rx_sk->__sk_common.skc_state == TCP_LISTEN && in_tcp_rcv(location) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_TCP_LISTEN_OVERFLOW))
		return refused(rx_sk);
	return 0;
}

/* Before, it is tcp_v4_syn_recv_sock() or its IPv6 sister that counts
 * ListenDrops and returns NULL. For an IPv4 client of an IPv6 listener the
 * latter calls the former, which then has counted already. */
static __always_inline bool is_ipv4(const struct sk_buff *skb)
{
	return BPF_CORE_READ(skb, protocol) == bpf_htons(ETH_P_IP);
}

SEC("fexit/tcp_v4_syn_recv_sock")
int BPF_PROG(handshake_refused__fexit_v4, struct sock *sk, struct sk_buff *skb, struct request_sock *req,
	     void *dst, void *req_unhash, bool *own_req, struct sock *ret)
{
	return ret ? 0 : refused(sk);
}

SEC("fexit/tcp_v6_syn_recv_sock")
int BPF_PROG(handshake_refused__fexit_v6, struct sock *sk, struct sk_buff *skb, struct request_sock *req,
	     void *dst, void *req_unhash, bool *own_req, struct sock *ret)
{
	return ret || is_ipv4(skb) ? 0 : refused(sk);
}

SEC("kprobe/tcp_v4_syn_recv_sock")
int BPF_KPROBE(handshake_refused__v4, struct sock *sk)
{
	struct calls *call = this_cpu_calls();

	if (call)
		call->v4_listener = (__u64)sk;
	return 0;
}

SEC("kretprobe/tcp_v4_syn_recv_sock")
int BPF_KRETPROBE(handshake_refused__v4_return, struct sock *ret)
{
	struct calls *call = this_cpu_calls();

	return call && !ret ? refused((struct sock *)call->v4_listener) : 0;
}

SEC("kprobe/tcp_v6_syn_recv_sock")
int BPF_KPROBE(handshake_refused__v6, struct sock *sk, struct sk_buff *skb)
{
	struct calls *call = this_cpu_calls();

	if (call)
		call->v6_listener = is_ipv4(skb) ? 0 : (__u64)sk;
	return 0;
}

SEC("kretprobe/tcp_v6_syn_recv_sock")
int BPF_KRETPROBE(handshake_refused__v6_return, struct sock *ret)
{
	struct calls *call = this_cpu_calls();

	return call && !ret && call->v6_listener ? refused((struct sock *)call->v6_listener) : 0;
}

/* ----------------------------------------------------- SYN-ACK sent again */

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(synack_retransmitted, const struct sock *sk, const struct request_sock *req)
{
	struct listener_key key = {};

	read_listener_key(&key, sk);
	add_to(&synack_retransmits, &key, 1);
	return 0;
}
