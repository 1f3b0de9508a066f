//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * How connections spread over CPUs and over the sockets of an SO_REUSEPORT
 * group, and how long each waited in the accept queue. A connection is stamped
 * when it is queued and leaves its stamp behind when accept() returns it.
 */
#include "connection.h"
#include "lifetime.h"
#include "listener.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set by the exporter: the collector netpoll runs. */
const volatile __u64 with_netpoll = 0;

struct cpu_key {
	struct listener_key key;
	__u32 cpu;
};

/* Who accepts: a process, and which of its listening sockets. A socket that
 * was inherited has several such workers. */
struct worker {
	__u64 socket; /* inode */
	__u32 tgid;
	__u32 unused;
};

struct worker_key {
	struct listener_key key;
	struct worker worker;
};

/*
 * A connection that was queued and not accepted yet, or the reverse: accept() on
 * another CPU can take it in the moment between its being queued and the program
 * that sees that. Who accepted then waits here for the program.
 */
struct waiting_connection {
	struct listener_key key;
	__u64 socket;      /* inode of the listening socket */
	__u64 queued_at;   /* CLOCK_MONOTONIC, nanoseconds; 0: only accept() saw it so far */
	__u32 accepted_by; /* process, where queued_at is 0 */
	__u32 unused;
};

COUNTER(queued_connections, struct cpu_key, 4 * MAX_LISTENERS);
COUNTER(accepted_connections, struct worker_key, 4 * MAX_LISTENERS);
HISTOGRAM(accept_wait_nanoseconds, struct listener_key, MAX_LISTENERS, 320);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64); /* struct sock of the connection */
	__type(value, struct waiting_connection);
} waiting SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old_state, int new_state)
{
	if (old_state == TCP_SYN_RECV && new_state == TCP_ESTABLISHED)
		remember_child(sk);
	return 0;
}

/* A connection that was reset in the queue is still accepted; one whose listener
 * was closed never is. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&waiting, &address);
	return 0;
}

remove_ended_from(waiting)

/* The first two stages of the connection's first request, and when its goroutine could
 * have run. */
static __always_inline void note_accepted(__u64 sk, __u64 queued_at, __u64 now)
{
	struct connection *connection = meet_connection(sk);

	if (!connection)
		return;
	/* As in listen.bpf.c. Nothing was sent to the peer since the SYN-ACK. */
	connection->handshake = (__u64)(BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3) * 1000;
	connection->accept_queue = now - queued_at;
	connection->accepted_at = now;
}

static __always_inline int count_accepted(const struct waiting_connection *connection, __u32 tgid, __u64 wait)
{
	struct worker_key worker = {};

	worker.key = connection->key;
	worker.worker.socket = connection->socket;
	worker.worker.tgid = tgid;
	add_to(&accepted_connections, &worker, 1);
	/* Or the compiler makes of adding a constant 0 an instruction of Linux 5.12. */
	barrier_var(wait);
	OBSERVE(accept_wait_nanoseconds, &worker.key, wait);
	return 0;
}

static __always_inline int queued(const struct sock *listener, const struct sock *child)
{
	struct cpu_key cpu = {};
	struct waiting_connection connection = {}, *early;
	__u64 address = (__u64)child;

	read_listener_key(&connection.key, listener);
	cpu.key = connection.key;
	cpu.cpu = bpf_get_smp_processor_id();
	add_to(&queued_connections, &cpu, 1);

	if (!child)
		return 0;
	connection.socket = socket_inode(listener);
	connection.queued_at = bpf_ktime_get_ns();
	if (!bpf_map_update_elem(&waiting, &address, &connection, BPF_NOEXIST))
		return 0;
	early = bpf_map_lookup_elem(&waiting, &address);
	if (!early) {
		count_lost(LOST_MAP_FULL);
		return 0;
	}
	if (!early->queued_at) {
		if (with_timeline || with_netpoll)
			note_accepted(address, connection.queued_at, connection.queued_at);
		count_accepted(&connection, early->accepted_by, 0);
		bpf_map_delete_elem(&waiting, &address);
	} else {
		/* Of an earlier connection at this address: its end was missed. */
		*early = connection;
	}
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

/* ---------------------------------------------------- accept() returned it */

static __always_inline int take(__u64 address, const struct waiting_connection *connection)
{
	struct waiting_connection taken = *connection;
	__u64 now = bpf_ktime_get_ns();

	bpf_map_delete_elem(&waiting, &address);
	if (now < taken.queued_at)
		now = taken.queued_at;
	if (with_timeline || with_netpoll)
		note_accepted(address, taken.queued_at, now);
	return count_accepted(&taken, bpf_get_current_pid_tgid() >> 32, now - taken.queued_at);
}

static __always_inline int accepted(const struct sock *child)
{
	__u64 address = (__u64)child;
	struct waiting_connection *connection = bpf_map_lookup_elem(&waiting, &address), early = {};

	if (!connection && BPF_CORE_READ(child, sk_protocol) == IPPROTO_TCP) {
		early.accepted_by = bpf_get_current_pid_tgid() >> 32;
		if (!bpf_map_update_elem(&waiting, &address, &early, BPF_NOEXIST))
			return 0;
		connection = bpf_map_lookup_elem(&waiting, &address); /* queued meanwhile */
	}
	return connection && connection->queued_at ? take(address, connection) : 0;
}

/* Linux 6.10 packed the last arguments of inet_csk_accept() into a struct. A
 * program made for the other form loads and reads an error pointer as the
 * socket, which is why the YAML states the parameters of both. */
SEC("fexit/inet_csk_accept")
int BPF_PROG(accepted__fexit, struct sock *sk, void *arg, struct sock *ret)
{
	return ret ? accepted(ret) : 0;
}

SEC("fexit/inet_csk_accept")
int BPF_PROG(accepted__fexit_before_6_10, struct sock *sk, int flags, int *err, bool kern, struct sock *ret)
{
	return ret ? accepted(ret) : 0;
}

SEC("kretprobe/inet_csk_accept")
int BPF_KRETPROBE(accepted__kretprobe, struct sock *ret)
{
	return ret ? accepted(ret) : 0;
}

static __always_inline int accepted_descriptor(long fd)
{
	struct file *file = file_of_descriptor(fd);
	struct waiting_connection *connection;
	struct socket *socket;
	struct sock *sk;
	__u64 address;

	if (!file)
		return 0;
	/* It is a socket, as accept() has just made it, unless another thread was faster
	 * and put something else there, which is in no accept queue. */
	socket = BPF_CORE_READ(file, private_data);
	address = (__u64)BPF_CORE_READ(socket, sk);
	connection = bpf_map_lookup_elem(&waiting, &address);
	if (connection && connection->queued_at)
		return take(address, connection);
	sk = tcp_sock_of_file(file);
	return sk ? accepted(sk) : 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int accepted__accept4(struct sys_exit_record *ctx)
{
	return accepted_descriptor(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int accepted__accept(struct sys_exit_record *ctx)
{
	return accepted_descriptor(ctx->ret);
}
