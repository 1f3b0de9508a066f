/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Which sockets listen now, in every network namespace. A socket that is being
 * closed has lost its inode, so who it was is remembered from before.
 */
#ifndef TCPSLO_LISTENING_H
#define TCPSLO_LISTENING_H

#include "listener.h"

struct listener_id {
	struct listener_key key;
	__u64 socket; /* inode, tells the sockets of one address apart */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTENERS);
	__type(key, __u64); /* struct sock */
	__type(value, struct listener_id);
} listener_of_sock SEC(".maps");

static __always_inline void identify(struct listener_id *id, const struct sock *sk)
{
	read_listener_key(&id->key, sk);
	id->socket = socket_inode(sk);
}

/* Not 0 if there is no room, which the caller counts as lost. */
static __always_inline long remember(const struct sock *sk, const struct listener_id *id)
{
	__u64 address = (__u64)sk;

	return bpf_map_update_elem(&listener_of_sock, &address, id, BPF_ANY);
}

static __always_inline struct listener_id *remembered(const struct sock *sk)
{
	__u64 address = (__u64)sk;

	return bpf_map_lookup_elem(&listener_of_sock, &address);
}

static __always_inline void forget(const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&listener_of_sock, &address);
}

/* The listening socket behind an open file, or NULL. */
static __always_inline struct sock *listener_of_file(struct file *file)
{
	struct sock *sk = file ? tcp_sock_of_file(file) : NULL;

	return sk && is_tcp_listener(sk) ? sk : NULL;
}

#endif
