/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * For maps by struct sock. An entry is removed when the socket ends, by a program at
 * tcp_destroy_sock. But the kernel may leave a program out: it does where it would begin
 * within itself, and a hardened kernel may for threads that it protects, with every
 * softirq that interrupts them. Then a connection's entry outlives it, and the next one
 * at the same address would go on with it.
 */
#ifndef TCPSLO_LIFETIME_H
#define TCPSLO_LIFETIME_H

#include "tcpslo.h"

/* Nothing is locked: a socket that is freed keeps its last contents until its memory
 * becomes another socket, or anything. */
static __always_inline bool is_connection(__u64 address)
{
	struct sock *sk = (struct sock *)address;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return BPF_CORE_READ(sk, __sk_common.skc_refcnt.refs.counter) > 0 &&
	       (family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* remove_ended_from(map) declares the iterator that removes, before each scrape, what has no socket any more. */
#define remove_ended_from(MAP)                                          \
	SEC("iter/bpf_map_elem")                                        \
	int ended_in_##MAP(struct bpf_iter__bpf_map_elem *ctx)          \
	{                                                               \
		__u64 *key = ctx->key, address;                         \
                                                                        \
		if (!key || !ctx->value)                                \
			return 0;                                       \
		address = *key;                                         \
		if (!is_connection(address))                            \
			bpf_map_delete_elem(&MAP, &address);            \
		return 0;                                               \
	}

/* A socket begins to be a connection: tcp_v4_connect(), inet_csk_clone_lock(). */
static __always_inline bool begins(int old_state, int new_state)
{
	return new_state == TCP_SYN_SENT || (old_state == TCP_LISTEN && new_state == TCP_SYN_RECV);
}

/* begin_anew_in(map) declares the program that removes what an earlier socket left at this address. */
#define begin_anew_in(MAP)                                                                       \
	SEC("tp_btf/inet_sock_set_state")                                                        \
	int BPF_PROG(connection_begins, const struct sock *sk, int old_state, int new_state)     \
	{                                                                                        \
		__u64 address = (__u64)sk;                                                       \
                                                                                                 \
		if (begins(old_state, new_state))                                                \
			bpf_map_delete_elem(&MAP, &address);                                     \
		return 0;                                                                        \
	}

#endif
