//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Packets that the kernel threw away, by its own reasons, and those among them
 * that a socket had no room for. Every program here runs at a drop and, but on
 * Linux 5.18 to 6.10, at nothing else.
 */
#include "listener.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* ---------------------------------------------------------- every reason */

struct drop_key {
	__u32 reason; /* enum skb_drop_reason of the running kernel */
};

/* Of each CPU, because a flood drops on all of them at once. Subsystems have
 * numbers of their own above 65536, which no array has room for. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 512);
	__type(key, struct drop_key);
	__type(value, __u64);
} drops SEC(".maps");

/* kfree_skb() has a reason since Linux 5.17; a packet that was used up goes
 * through consume_skb() and does not come here. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(packet_dropped, struct sk_buff *skb, void *location, int reason)
{
	struct drop_key key = {.reason = reason};

	add_to(&drops, &key, 1);
	return 0;
}

/* ------------------------------------------- what a socket had no room for */

enum receive_drop {
	DROP_OTHER, /* not for want of room */
	DROP_RCVBUF,
	DROP_MEMORY,
	DROP_BACKLOG,
	DROP_OFO_PRUNE,
	DROP_ZERO_WINDOW,
	DROP_BEYOND_WINDOW,
};

struct socket_drop_key {
	struct listener_key key; /* the local address; zero where it was chosen for the socket */
	__u32 reason;
	__u32 unused;
};

COUNTER(socket_drops, struct socket_drop_key, 4 * MAX_LISTENERS);

/*
 * Whether the socket is at a port that was asked for, as a service does, and not
 * at an ephemeral one: those would be a row for each connection of a client.
 *
 * A TCP connection that was accepted shares the bind bucket of its listener. One
 * that connect() chose a port for is in a bucket with fastreuse -1, which
 * bind() never leaves there nor connect() shares with it
 * (__inet_hash_connect(), net/ipv4/inet_hashtables.c, Linux 5.10 to 6.18).
 */
static __always_inline bool at_service_port(const struct sock *sk, __u16 protocol, bool known)
{
	struct inet_bind_bucket *bucket;

	if (protocol == IPPROTO_UDP)
		return (known ? BPF_CORE_READ_BITFIELD(sk, sk_userlocks) : BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks)) &
		       SOCK_BINDPORT_LOCK;
	bucket = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_bind_hash);
	return bucket && BPF_CORE_READ(bucket, fastreuse) >= 0;
}

/* known: the verifier knows that sk is a socket. */
static __always_inline int count_drop(const struct sock *sk, enum receive_drop reason, bool known)
{
	struct socket_drop_key key = {.reason = reason};
	__u16 family = MEMBER(known, sk, __sk_common.skc_family);
	__u16 protocol = MEMBER(known, sk, sk_protocol);

	/* Raw and packet sockets have the same reasons. */
	if ((family != AF_INET && family != AF_INET6) || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return 0;
	if (at_service_port(sk, protocol, known))
		read_local_address(&key.key, sk, known);
	add_to(&socket_drops, &key, 1);
	return 0;
}

/*
 * TCP has one reason for a receive buffer that is full and for memory that is
 * used up (tcp_try_rmem_schedule(), net/ipv4/tcp_input.c). It asks for the former
 * first: since Linux 6.17 with the packet at hand, before without it.
 */
static __always_inline enum receive_drop full_or_no_memory(const struct sock *sk, const struct sk_buff *skb)
{
	__u32 used = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter) + BPF_CORE_READ(skb, truesize);

	return used > (__u32)BPF_CORE_READ(sk, sk_rcvbuf) ? DROP_RCVBUF : DROP_MEMORY;
}

/* The end of a connection need not fit the window. */
static __always_inline bool is_reset(const struct sk_buff *skb)
{
	struct tcphdr header = {};

	bpf_probe_read_kernel(&header, sizeof(header), BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header));
	return header.flags & TCP_FLAG_RST;
}

#define REASON(NAME) bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_##NAME)

/* What the reason is for a socket that had no room. */
static __always_inline enum receive_drop receive_drop_of(int reason, const struct sock *sk, const struct sk_buff *skb)
{
	if (reason == REASON(SOCKET_RCVBUFF))
		return DROP_RCVBUF;
	if (reason == REASON(PROTO_MEM))
		return full_or_no_memory(sk, skb);
	if (reason == REASON(SOCKET_BACKLOG))
		return DROP_BACKLOG;
	if (reason == REASON(TCP_OFO_QUEUE_PRUNE))
		return DROP_OFO_PRUNE;
	if (reason == REASON(TCP_ZEROWINDOW))
		return DROP_ZERO_WINDOW;
	if (reason == REASON(TCP_INVALID_SEQUENCE) ||
	    (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE) &&
	     reason == REASON(TCP_INVALID_END_SEQUENCE))) /* Linux 6.17: it ends beyond the window */
		return is_reset(skb) ? DROP_OTHER : DROP_BEYOND_WINDOW;
	return DROP_OTHER;
}

/* Since Linux 6.11 the tracepoint names the socket. With other reasons than these
 * it need not be a full one, so the reason is looked at first. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(no_room__tracepoint, struct sk_buff *skb, void *location, int reason, struct sock *rx_sk)
{
	enum receive_drop drop = rx_sk ? receive_drop_of(reason, rx_sk, skb) : DROP_OTHER;

	return drop == DROP_OTHER ? 0 : count_drop(rx_sk, drop, true);
}

/*
 * Before Linux 6.11 the socket is the one whose data is being queued: all drops
 * of a TCP connection for want of room happen in tcp_data_queue(), but for those
 * at the backlog.
 */
struct work {
	__u64 sk, skb;    /* of tcp_data_queue() */
	__u64 backlog_sk; /* of tcp_add_backlog() */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} work SEC(".maps");

static __always_inline struct work *this_cpu_work(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&work, &first);
}

static __always_inline int data_arrives(const struct sock *sk, const struct sk_buff *skb)
{
	struct work *now = this_cpu_work();

	if (now) {
		now->sk = (__u64)sk;
		now->skb = (__u64)skb;
	}
	return 0;
}

SEC("fentry/tcp_data_queue")
int BPF_PROG(data_arrives__fentry, struct sock *sk, struct sk_buff *skb)
{
	return data_arrives(sk, skb);
}

SEC("kprobe/tcp_data_queue")
int BPF_KPROBE(data_arrives__kprobe, struct sock *sk, struct sk_buff *skb)
{
	return data_arrives(sk, skb);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(no_room__queued_data, struct sk_buff *skb, void *location, int reason)
{
	bool prune = reason == REASON(TCP_OFO_QUEUE_PRUNE);
	struct work *now;
	struct sock *sk;

	if (!prune && reason != REASON(PROTO_MEM) && reason != REASON(TCP_ZEROWINDOW))
		return 0;
	now = this_cpu_work();
	/* Of a pruned queue other packets are dropped than the one that arrives. */
	if (!now || !now->sk || (!prune && now->skb != (__u64)skb))
		return 0;
	sk = (struct sock *)now->sk;
	return count_drop(sk, receive_drop_of(reason, sk, skb), false);
}

/* Not BPF_PROG(): how many arguments there are has changed more than once, and
 * what is returned from a bool to the reason. bpf_get_func_ret() needs Linux 5.17. */
SEC("fexit/tcp_add_backlog")
int no_room__backlog(__u64 *ctx)
{
	const struct sock *sk = (const struct sock *)ctx[0];
	__u64 dropped = 0;

	bpf_get_func_ret(ctx, &dropped);
	return (__u8)dropped ? count_drop(sk, DROP_BACKLOG, true) : 0;
}

SEC("kprobe/tcp_add_backlog")
int BPF_KPROBE(backlog_entered, struct sock *sk)
{
	struct work *now = this_cpu_work();

	if (now)
		now->backlog_sk = (__u64)sk;
	return 0;
}

SEC("kretprobe/tcp_add_backlog")
int BPF_KRETPROBE(no_room__backlog_return, bool dropped)
{
	struct work *now = this_cpu_work();

	return now && dropped ? count_drop((struct sock *)now->backlog_sk, DROP_BACKLOG, false) : 0;
}

/* IPv4 only before Linux 6.10. The code is -ENOMEM for the buffer of the socket
 * and -ENOBUFS for the memory of the protocol (__udp_queue_rcv_skb()). */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(no_room__udp, int code, struct sock *sk)
{
	struct work *now = this_cpu_work();

	/* The packet is freed for the reason PROTO_MEM next, and may be where one was
	 * that tcp_data_queue() took. */
	if (now)
		now->skb = 0;
	return count_drop(sk, code == -ENOMEM ? DROP_RCVBUF : DROP_MEMORY, true);
}
