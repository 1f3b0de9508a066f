//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The way of data between the network and a process: how long it was there
 * before it was read, how long it took from a write to the first packet, and
 * how long tcp_sendmsg() and tcp_recvmsg() took where calls can be traced.
 *
 * Softirqs know no process: they leave their stamp at the connection, and the
 * process is told from who reads or writes.
 */
#include "record.h"
#include "lifetime.h"
#include "read.h"
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define MAX_PROCESSES 512

HISTOGRAM(read_wait_nanoseconds, __u32, MAX_PROCESSES, 320);
HISTOGRAM(write_to_wire_nanoseconds, __u32, MAX_PROCESSES, 320);
HISTOGRAM(sendmsg_nanoseconds, __u32, MAX_PROCESSES, 320);
HISTOGRAM(recvmsg_nanoseconds, __u32, MAX_PROCESSES, 320);

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, const struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct connection *connection;

	if (with_slow_requests) {
		connection = bpf_map_lookup_elem(&connections, &address);
		if (connection)
			record_packet(connection, RECORD_ACK, NOT_SEEN);
	}
	bpf_map_delete_elem(&connections, &address);
	return 0;
}

begin_anew_in(connections)
remove_ended_from(connections)

/* ------------------------------------------------------- data waits, is read */

static __always_inline int queued(__u64 sk)
{
	struct connection *connection = meet_connection(sk);

	__u64 now;

	if (!connection || (connection->readable_since && (!with_timeline || connection->request_since)))
		return 0;
	now = bpf_ktime_get_ns();
	if (!connection->readable_since)
		connection->readable_since = now;
	if (!connection->request_since)
		connection->request_since = now;
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(data_queued__tracepoint, const struct sock *sk)
{
	return sk->__sk_common.skc_state != TCP_LISTEN && is_tcp(sk) ? queued((__u64)sk) : 0;
}

/* What calls sk_data_ready() of a socket that nothing special was done to. */
SEC("fentry/sock_def_readable")
int BPF_PROG(data_queued__fentry, const struct sock *sk)
{
	return sk->__sk_common.skc_state != TCP_LISTEN && is_tcp(sk) ? queued((__u64)sk) : 0;
}

SEC("kprobe/sock_def_readable")
int BPF_KPROBE(data_queued__kprobe, const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP ||
	    BPF_CORE_READ(sk, sk_type) != SOCK_STREAM || BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		return 0;
	return queued((__u64)sk);
}

/*
 * A read has copied data of a packet, with the socket locked: what arrives now is
 * queued later. A read that takes several packets comes here for each, and may
 * let the socket queue new data in between: the first packet counts. What splice()
 * took is told apart by the next read that finds nothing, or counts as its wait.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(data_copied, struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct connection *connection = bpf_map_lookup_elem(&connections, &address);
	struct tcp_sock *tp;

	if (!connection)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (connection->readable_since && !connection->taken_since) {
		connection->taken_at = bpf_ktime_get_ns();
		connection->taken_since = connection->readable_since;
		if (with_timeline && !connection->read_at && !connection->answer_since)
			connection->read_at = connection->taken_at;
	}
	connection->readable_since = 0;
	connection->left = tp->rcv_nxt - tp->copied_seq;
	return 0;
}

static __always_inline int read_returned(__u64 sk, int copied, int flags)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &sk);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 since;

	if (!connection)
		return 0;
	since = connection->taken_since;
	if (since && is_data(copied, flags))
		OBSERVE(read_wait_nanoseconds, &tgid, connection->taken_at - since);
	connection->taken_since = 0;
	if (since && (flags & MSG_PEEK))
		connection->readable_since = since; /* it has taken nothing */
	else if (connection->left && !connection->readable_since)
		connection->readable_since = bpf_ktime_get_ns(); /* what is left could have been read until now */
	return 0;
}

/* ------------------------------------------- a write waits for its first packet */

/*
 * A write that begins while an earlier one of the connection waits is left out:
 * one of a connection is measured at a time.
 */
static __always_inline int write_began(const struct sock *sk, __u32 write_seq)
{
	struct connection *connection = meet_connection((__u64)sk);
	__u64 thread = bpf_get_current_pid_tgid();

	if (!connection || connection->writer == (__u32)thread)
		return 0;
	connection->writer = thread;
	connection->is_measured = !connection->written_at;
	if (connection->written_at)
		return 0;
	connection->first_byte = write_seq;
	connection->written_by = thread >> 32;
	barrier();
	connection->written_at = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int write_returned(__u64 sk, int written)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &sk);

	if (!connection || connection->writer != (__u32)bpf_get_current_pid_tgid())
		return 0;
	connection->writer = 0;
	if (written <= 0 && connection->is_measured)
		connection->written_at = 0;
	return 0;
}

/* Since Linux 6.16; comes again for each packet's worth of data of one write. */
SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(written__tracepoint, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp ? write_began(sk, tp->write_seq) : 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(written__tracepoint_return, const struct sock *sk, int written, int flags)
{
	return is_tcp(sk) ? write_returned((__u64)sk, written) : 0;
}

SEC("fentry/tcp_sendmsg")
int BPF_PROG(written__fentry, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp ? write_began(sk, tp->write_seq) : 0;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(written__fexit, struct sock *sk, struct msghdr *msg, __u64 size, int written)
{
	return write_returned((__u64)sk, written);
}

/* What threads are in the middle of, where only kprobes serve. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u32);   /* thread */
	__type(value, __u64); /* struct sock */
} write_calls SEC(".maps");

SEC("kprobe/tcp_sendmsg")
int BPF_KPROBE(written__kprobe, struct sock *sk)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 address = (__u64)sk;

	if (bpf_map_update_elem(&write_calls, &thread, &address, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return write_began(sk, BPF_CORE_READ((struct tcp_sock *)sk, write_seq));
}

SEC("kretprobe/tcp_sendmsg")
int BPF_KRETPROBE(written__kretprobe, int written)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *called = bpf_map_lookup_elem(&write_calls, &thread), sk;

	if (!called)
		return 0;
	sk = *called;
	bpf_map_delete_elem(&write_calls, &thread);
	return write_returned(sk, written);
}

/* The sequence number behind the last byte of a packet. */
static __always_inline __u32 end_of_data(const struct sk_buff *skb)
{
	__u64 transport = (__u64)skb->head + skb->transport_header;
	__u32 headers = transport - (__u64)skb->data; /* before that of TCP */
	struct tcphdr tcp = {};

	bpf_probe_read_kernel(&tcp, sizeof(tcp), (void *)transport);
	return bpf_ntohl(tcp.seq) + skb->len - headers - 4 * (tcp.data_offset >> 4);
}

/*
 * The first packet of a response, which http's program left to wait for. Before it
 * sends that, net/http has taken what the handler left of the request's body
 * ((*chunkWriter).writeHeader, src/net/http/server.go): only now what can be read is
 * of the next request.
 */
static __always_inline void response_sent(struct connection *connection, __u64 sk, __u64 now)
{
	struct request_stages *stages = stages_of(&connection->route);
	__u64 took = now > connection->answer_since ? now - connection->answer_since : 0;

	if (stages)
		request_stages_add(&stages->first_packet, took);
	record_packet(connection, RECORD_FIRST_PACKET, took);
	connection->answer_since = 0;
	connection->ack_since = now;
	if (!connection->read_at)
		await_request(connection, sk);
}

static __always_inline bool is_behind(__u32 end, __u32 begin)
{
	return (__s32)(end - begin) > 0;
}

/* Runs for every packet that leaves, and for most of them ends at the first or
 * second question: a packet's own time is known nowhere else. Behind a queueing
 * discipline that shapes it comes when the packet's turn has come. What is behind the
 * sequence number is no acknowledgement, and no data of before. */
SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(packet_sent, const struct sk_buff *skb)
{
	__u64 sk = (__u64)skb->sk, now;
	struct connection *connection;
	__u32 tgid, end;

	if (!sk)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &sk);
	if (!connection || (!connection->written_at && !(with_timeline && connection->answer_since)))
		return 0;
	end = end_of_data(skb);
	now = bpf_ktime_get_ns();
	if (connection->written_at && is_behind(end, connection->first_byte)) {
		tgid = connection->written_by;
		OBSERVE(write_to_wire_nanoseconds, &tgid, now - connection->written_at);
		connection->written_at = 0;
	}
	if (with_timeline && connection->answer_since && is_behind(end, connection->response_begins))
		response_sent(connection, sk, now);
	return 0;
}

/* --------------------------------------------------------- how long calls take */

/* A thread is in one call at a time: tcp_sendmsg() and tcp_recvmsg() call neither
 * themselves nor each other. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u32);   /* thread */
	__type(value, __u64); /* CLOCK_MONOTONIC, nanoseconds */
} calls_began SEC(".maps");

static __always_inline int call_began(void)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 now = bpf_ktime_get_ns();

	if (bpf_map_update_elem(&calls_began, &thread, &now, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

/* 0 if the call began before the probe did. */
static __always_inline __u64 call_took(void)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *began = bpf_map_lookup_elem(&calls_began, &thread), took;

	if (!began)
		return 0;
	took = bpf_ktime_get_ns() - *began;
	bpf_map_delete_elem(&calls_began, &thread);
	return took;
}

static __always_inline int sendmsg_ended(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 took = call_took();

	if (took)
		OBSERVE(sendmsg_nanoseconds, &tgid, took);
	return 0;
}

static __always_inline int recvmsg_ended(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 took = call_took();

	if (took)
		OBSERVE(recvmsg_nanoseconds, &tgid, took);
	return 0;
}

/* None of these reads an argument, so any prototype will do. */
SEC("fentry/tcp_sendmsg")
int sendmsg__fentry(void *ctx)
{
	return call_began();
}

SEC("fexit/tcp_sendmsg")
int sendmsg__fexit(void *ctx)
{
	return sendmsg_ended();
}

SEC("kprobe/tcp_sendmsg")
int sendmsg__kprobe(void *ctx)
{
	return call_began();
}

SEC("kretprobe/tcp_sendmsg")
int sendmsg__kretprobe(void *ctx)
{
	return sendmsg_ended();
}

SEC("fentry/tcp_recvmsg")
int recvmsg__fentry(void *ctx)
{
	return call_began();
}

SEC("fexit/tcp_recvmsg")
int recvmsg__fexit(void *ctx)
{
	return recvmsg_ended();
}

SEC("kprobe/tcp_recvmsg")
int recvmsg__kprobe(void *ctx)
{
	return call_began();
}

SEC("kretprobe/tcp_recvmsg")
int recvmsg__kretprobe(void *ctx)
{
	return recvmsg_ended();
}
