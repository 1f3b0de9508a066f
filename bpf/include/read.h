/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The moment at which a read of a TCP connection returns to its process,
 * whatever the system call was. The including file defines read_returned(), and
 * its YAML lists the variants of the program of that name. splice() is no read.
 */
#ifndef TCPSLO_READ_H
#define TCPSLO_READ_H

#include "tcpslo.h"

/* Threads that may be in the middle of a call at once. */
#define MAX_CALLS 8192

struct msghdr;

enum {
	MSG_PEEK = 0x2,
	MSG_ERRQUEUE = 0x2000, /* messages of the kernel's own */
};

/* copied is what the read returned: bytes, 0 at the end of the stream, either
 * for a peek, negative for an error. */
static __always_inline int read_returned(__u64 sk, int copied, int flags);

static __always_inline bool is_data(int copied, int flags)
{
	return copied > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE));
}

/* Reads of any other kind of socket pass here too. AF_NETLINK has a protocol 6
 * of its own. */
static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP && sk->sk_type == SOCK_STREAM &&
	       (sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(read_returned__tracepoint, const struct sock *sk, int copied, int flags)
{
	return is_tcp(sk) ? read_returned((__u64)sk, copied, flags) : 0;
}

/* Linux 5.19 dropped the parameter nonblock of tcp_recvmsg(), a later one addr_len. */
SEC("fexit/tcp_recvmsg")
int BPF_PROG(read_returned__fexit_before_5_19, struct sock *sk, struct msghdr *msg, __u64 len, int nonblock,
	     int flags, int *addr_len, int copied)
{
	return read_returned((__u64)sk, copied, flags);
}

SEC("fexit/tcp_recvmsg")
int BPF_PROG(read_returned__fexit_with_addr_len, struct sock *sk, struct msghdr *msg, __u64 len, int flags,
	     int *addr_len, int copied)
{
	return read_returned((__u64)sk, copied, flags);
}

SEC("fexit/tcp_recvmsg")
int BPF_PROG(read_returned__fexit, struct sock *sk, struct msghdr *msg, __u64 len, int flags, int copied)
{
	return read_returned((__u64)sk, copied, flags);
}

/* What a thread called tcp_recvmsg() with, until that returns. */
struct read_call {
	__u64 sk;
	__u32 flags;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u32); /* thread */
	__type(value, struct read_call);
} read_calls SEC(".maps");

static __always_inline int read_called(const struct sock *sk, int flags)
{
	struct read_call call = {.sk = (__u64)sk, .flags = flags};
	__u32 thread = bpf_get_current_pid_tgid();

	if (bpf_map_update_elem(&read_calls, &thread, &call, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

SEC("kprobe/tcp_recvmsg")
int BPF_KPROBE(read_called__before_5_19, struct sock *sk, struct msghdr *msg, __u64 len, int nonblock, int flags)
{
	return read_called(sk, flags);
}

SEC("kprobe/tcp_recvmsg")
int BPF_KPROBE(read_called__kprobe, struct sock *sk, struct msghdr *msg, __u64 len, int flags)
{
	return read_called(sk, flags);
}

SEC("kretprobe/tcp_recvmsg")
int BPF_KRETPROBE(read_returned__kretprobe, int copied)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct read_call *called = bpf_map_lookup_elem(&read_calls, &thread), call;

	if (!called)
		return 0;
	call = *called;
	bpf_map_delete_elem(&read_calls, &thread);
	return read_returned(call.sk, copied, call.flags);
}

#endif
