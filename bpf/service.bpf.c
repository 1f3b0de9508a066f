//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * What wakes service discovery: a socket that begins or ends to listen, a
 * process that executes a new program or ends. No timer reads /proc.
 */
#include "listening.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum event_kind {
	EVENT_LISTEN = 1,
	EVENT_CLOSE = 2,
	EVENT_EXEC = 3,
	EVENT_EXIT = 4,
};

struct event {
	__u32 kind;
	__u32 tgid;
	__u64 socket; /* inode of the listening socket */
	struct listener_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

static __always_inline void emit(__u32 kind, __u32 tgid, const struct listener_id *id)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count_lost(LOST_RING_BUFFER_FULL);
		return;
	}
	event->kind = kind;
	event->tgid = tgid;
	event->socket = id ? id->socket : 0;
	if (id)
		event->key = id->key;
	else
		__builtin_memset(&event->key, 0, sizeof(event->key));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void listens(const struct sock *sk, __u32 tgid)
{
	struct listener_id id = {};

	identify(&id, sk);
	if (remember(sk, &id))
		count_lost(LOST_MAP_FULL);
	emit(EVENT_LISTEN, tgid, &id);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, const struct sock *sk, int old_state, int new_state)
{
	struct listener_id *id;

	if (new_state == TCP_LISTEN && sk->sk_protocol == IPPROTO_TCP) {
		/* listen() runs in the process that asked for it. */
		listens(sk, bpf_get_current_pid_tgid() >> 32);
	} else if (old_state == TCP_LISTEN && new_state == TCP_CLOSE) {
		id = remembered(sk);
		if (id) {
			emit(EVENT_CLOSE, 0, id);
			forget(sk);
		}
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	emit(EVENT_EXEC, task->tgid, NULL);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	/* do_exit() has already counted this thread down: the last one ends the process. */
	if (task->signal->live.counter == 0)
		emit(EVENT_EXIT, task->tgid, NULL);
	return 0;
}

/* Every listening socket of every process and network namespace, once at start. */
SEC("iter/task_file")
int open_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = task ? listener_of_file(ctx->file) : NULL;

	if (sk)
		listens(sk, task->tgid);
	return 0;
}
