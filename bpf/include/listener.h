/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Who a TCP listener is: its address and its network namespace. Everything
 * that is counted per listener is keyed by this, so the four sockets of an
 * SO_REUSEPORT group share a series and a restarted server continues its own.
 */
#ifndef TCPSLO_LISTENER_H
#define TCPSLO_LISTENER_H

#include "tcpslo.h"

#define MAX_LISTENERS 4096

/* Decoder "sockaddr". IPv4 uses the first four bytes; port in host order. */
struct address {
	__u8 ip[16];
	__u16 port;
	__u16 family;
};

struct listener_key {
	struct address listener;
	__u32 netns;        /* inode of the network namespace */
	__u64 netns_cookie; /* inodes are used again, cookies (Linux 5.12) are not */
};

/* A member of a kernel struct: loaded, where the verifier knows the pointer, which
 * costs nothing, else read by a helper. */
#define MEMBER(KNOWN, POINTER, PATH) ((KNOWN) ? (POINTER)->PATH : BPF_CORE_READ(POINTER, PATH))

/* The local address of a socket. known: the verifier knows that sk is one. */
static __always_inline void read_local_address(struct listener_key *key, const struct sock *sk, bool known)
{
	const struct net *net = MEMBER(known, sk, __sk_common.skc_net.net);

	key->listener.family = MEMBER(known, sk, __sk_common.skc_family);
	key->listener.port = MEMBER(known, sk, __sk_common.skc_num);
	if (key->listener.family == AF_INET6) {
		BPF_CORE_READ_INTO(&key->listener.ip, sk, __sk_common.skc_v6_rcv_saddr);
	} else {
		__be32 ip = MEMBER(known, sk, __sk_common.skc_rcv_saddr);

		__builtin_memset(key->listener.ip, 0, sizeof(key->listener.ip));
		__builtin_memcpy(key->listener.ip, &ip, sizeof(ip));
	}
	key->netns = MEMBER(known, net, ns.inum);
	if (bpf_core_field_exists(struct net, net_cookie))
		key->netns_cookie = MEMBER(known, net, net_cookie);
}

static __always_inline void read_listener_key(struct listener_key *key, const struct sock *sk)
{
	read_local_address(key, sk, false);
}

/*
 * Since Go 1.24 a listener is an MPTCP socket with a TCP subflow below it
 * (where net.mptcp.enabled=1): two sockets in state LISTEN, of which only the
 * TCP one counts.
 */
static __always_inline bool is_tcp_listener(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* The number behind "socket:[…]" in /proc/PID/fd, 0 where there is no file. */
static __always_inline __u64 socket_inode(const struct sock *sk)
{
	struct socket_alloc *socket = (struct socket_alloc *)BPF_CORE_READ(sk, sk_socket);

	return socket ? BPF_CORE_READ(socket, vfs_inode.i_ino) : 0;
}

/* What a descriptor of the current process stands for, or NULL. */
static __always_inline struct file *file_of_descriptor(long fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table;
	struct file **files, *file = NULL;

	if (fd < 0)
		return NULL;
	table = BPF_CORE_READ(task, files, fdt);
	files = BPF_CORE_READ(table, fd);
	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

/*
 * The TCP socket behind an open file, or NULL. Told by the file system's magic
 * number because bpf_sock_from_file() needs Linux 5.11. An MPTCP socket gives
 * its first subflow.
 */
static __always_inline struct sock *tcp_sock_of_file(struct file *file)
{
	struct socket *socket;
	struct sock *sk;
	__u16 family, protocol;

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || BPF_CORE_READ(socket, type) != SOCK_STREAM)
		return NULL;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return NULL;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == IPPROTO_MPTCP && bpf_core_field_exists(struct mptcp_sock, first))
		return BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return protocol == IPPROTO_TCP ? sk : NULL;
}

/*
 * Where only tracepoints tell (see conn_queued), the child of a handshake and
 * its listener are met in two calls, one right after the other in the same
 * softirq: inet_sock_set_state(child, SYN_RECV -> ESTABLISHED), then
 * sk_data_ready(listener) (tcp_child_process(), net/ipv4/tcp_minisocks.c). The
 * child waits here in between.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} established_child SEC(".maps");

static __always_inline void remember_child(const struct sock *child)
{
	__u32 first = 0;
	__u64 *slot = bpf_map_lookup_elem(&established_child, &first);

	if (slot)
		*slot = (__u64)child;
}

/*
 * The connection that was just put into the listener's accept queue. If the
 * tracepoint before was missed (Linux 7 skips a program that it interrupted)
 * or does not come (Fast Open queues before ESTABLISHED), it is the last one
 * in the queue.
 */
static __always_inline struct sock *queued_child(const struct sock *listener)
{
	__u32 first = 0;
	__u64 *slot = bpf_map_lookup_elem(&established_child, &first);
	struct sock *child = NULL;

	if (slot) {
		child = (struct sock *)*slot;
		*slot = 0;
	}
	if (child && BPF_CORE_READ(child, __sk_common.skc_num) == BPF_CORE_READ(listener, __sk_common.skc_num))
		return child;
	return BPF_CORE_READ((struct inet_connection_sock *)listener, icsk_accept_queue.rskq_accept_tail, sk);
}

#endif
