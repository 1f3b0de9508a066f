//go:build ignore

// SPDX-License-Identifier: Apache-2.0
/*
 * Outgoing TCP connections: which program connects, how long the handshake
 * takes, what becomes of it, and how often a SYN had to be sent again.
 */
#include "tcpslo.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What kernel.h does not have is declared here, with a suffix behind three
 * underscores that CO-RE ignores: the offsets come from the running kernel. */
struct sock___client {
	int sk_err;
} __attribute__((preserve_access_index));

struct inet_connection_sock___client {
	__u8 icsk_ca_state : 5;
} __attribute__((preserve_access_index));

enum {
	ECONNREFUSED = 111, /* include/uapi/asm-generic/errno.h */
	ETIMEDOUT = 110,
	ECANCELED = 125,
};

/* A name, not a process number: a row outlives the process that it counted for. */
struct program {
	char comm[16];
};

struct attempt {
	struct program program;
	__u64 began_at; /* CLOCK_MONOTONIC, nanoseconds */
};

/* The connections that wait for the SYN-ACK, by struct sock. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct attempt);
} attempts SEC(".maps");

struct result {
	struct program program;
	__u32 error; /* errno, 0 for a connection */
	__u16 family;
	__u16 unused; /* padding would make one key look like two */
};

struct retransmit {
	struct program program;
	__u32 state; /* enum tcp_ca_state */
};

COUNTER(connects, struct result, 4096);
COUNTER(pending, struct program, 1024);
COUNTER(retransmits, struct retransmit, 4096);
HISTOGRAM(connect_nanoseconds, struct program, 1024, 320);

static __always_inline void begins(__u64 address)
{
	struct attempt attempt = {.began_at = bpf_ktime_get_ns()};

	/* connect() runs in the process that asked for it; its answer does not. */
	bpf_get_current_comm(&attempt.program.comm, sizeof(attempt.program.comm));
	if (bpf_map_update_elem(&attempts, &address, &attempt, BPF_ANY)) {
		count_lost(LOST_MAP_FULL);
		return;
	}
	add_to(&pending, &attempt.program, 1);
}

static __always_inline void ends(__u64 address, const struct sock *sk, bool connected)
{
	__u64 now = bpf_ktime_get_ns();
	struct attempt *attempt = bpf_map_lookup_elem(&attempts, &address);
	struct result result = {};

	if (!attempt)
		return; /* began before the probe */
	result.program = attempt->program;
	result.family = sk->__sk_common.skc_family;
	if (!connected) {
		result.error = ((const struct sock___client *)sk)->sk_err;
		if (result.error == 0)
			result.error = ECANCELED; /* close() while it was pending */
	}
	now -= attempt->began_at;
	bpf_map_delete_elem(&attempts, &address);
	add_to(&connects, &result, 1);
	add_to(&pending, &result.program, -1);
	if (connected)
		OBSERVE(connect_nanoseconds, &result.program, now);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old_state, int new_state)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0; /* an MPTCP socket has a TCP one below it */
	if (new_state == TCP_SYN_SENT)
		begins((__u64)sk);
	else if (old_state == TCP_SYN_SENT)
		ends((__u64)sk, sk, new_state == TCP_ESTABLISHED);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmitted, const struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct attempt *attempt = bpf_map_lookup_elem(&attempts, &address);
	struct retransmit key = {};

	if (!attempt)
		return 0; /* not while connecting */
	key.program = attempt->program;
	key.state = BPF_CORE_READ_BITFIELD_PROBED((struct inet_connection_sock___client *)sk, icsk_ca_state);
	add_to(&retransmits, &key, 1);
	return 0;
}
