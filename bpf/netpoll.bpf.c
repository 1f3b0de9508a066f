//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Why bytes that are in a socket are not read yet: the way from the softirq that
 * queued them, by Go's netpoller, to the goroutine that waits for them.
 *
 * A goroutine that finds nothing to read is parked in the netpoller (src/runtime/netpoll.go).
 * A thread of its process finds out by epoll_wait() that there is something, takes the
 * goroutine out with netpollready() and puts it into a run queue; sooner or later it runs, and
 * reads. One uprobe hit for each event that epoll reports, where netpollready() begins: there
 * the goroutine is parked still, if it was. What was queued when is in the connection
 * (socketio.bpf.c).
 *
 * Another hit for each connection of net/http, where its goroutine begins.
 */
#include "connection.h"
#include "lifetime.h"
#include "go.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What the exporter found in an executable's own type data; the members are filled by
 * name (netpoll.yaml, executables). Offsets are bytes. */
struct executable {
	__u32 id;
	__u16 poll_fd, poll_rg; /* of runtime.pollDesc */
	__u16 conn_net;         /* net.Conn */
	__u16 fd_number, fd_family, fd_type;
};

/* Times are CLOCK_MONOTONIC, nanoseconds. */
struct process {
	struct executable executable;
	__u64 polls_since; /* one of its threads was put on a CPU then that was in epoll_wait() */
};

#include "go_process.h"
#include "go_connection.h"

#define MAX_PROCESSES 512

/* A connection whose goroutine was taken out of the netpoller and has not read yet. */
struct wakeup {
	__u64 queued_at;
	__u64 polled_at; /* not before queued_at */
	__u64 ready_at;  /* not before polled_at */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* struct sock */
	__type(value, struct wakeup);
} wakeups SEC(".maps");

HISTOGRAM(wakeup_nanoseconds, __u32, MAX_PROCESSES, 320);
HISTOGRAM(goroutine_start_nanoseconds, __u32, MAX_PROCESSES, 320);

#define WAKEUP_STAGE_SLOTS 32 /* a power of two */
HISTOGRAM_LAYOUT(wakeup_stages, WAKEUP_STAGE_SLOTS);

struct wakeup_stages {
	struct wakeup_stages_histogram kernel, poller, run_queue;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__type(key, __u32); /* process */
	__type(value, struct wakeup_stages);
} wakeup_stages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wakeup_stages);
} no_wakeup_stages SEC(".maps");

/* ------------------------------------- the thread that sleeps in epoll_wait() */

/* Go's runtime calls no other one of the family (src/internal/runtime/syscall/linux). */
#if defined(__TARGET_ARCH_x86)
#define EPOLL_PWAIT 281
#elif defined(__TARGET_ARCH_arm64)
#define EPOLL_PWAIT 22
#endif

/* The registers of a thread in a system call, as the kernel's own BTF has them. */
struct pt_regs___kernel {
	unsigned long orig_ax; /* amd64 */
	__s32 syscallno;       /* arm64 */
} __attribute__((preserve_access_index));

/* Kernel stacks where bpf_task_pt_regs(), of Linux 5.15, is not there yet: the registers are
 * at their end (arch/x86/include/asm/page_64_types.h, arch/arm64/include/asm/memory.h;
 * pages of 4 KiB, no KASAN). */
#define THREAD_SIZE 16384

static __always_inline bool is_in_epoll_wait(struct task_struct *task)
{
	struct pt_regs___kernel *registers;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		registers = (void *)bpf_task_pt_regs(task);
	else
		registers = task->stack + THREAD_SIZE - bpf_core_type_size(struct pt_regs___kernel);
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(registers, orig_ax) == EPOLL_PWAIT;
#elif defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(registers, syscallno) == EPOLL_PWAIT;
#endif
}

/* Runs at every context switch of the machine, and for most of them ends at the first
 * question. Of Go's threads one at a time sleeps in epoll_wait(); others look without
 * waiting. */
SEC("tp_btf/sched_switch")
int BPF_PROG(thread_runs, bool preempted, struct task_struct *before, struct task_struct *task)
{
	struct process *process;
	__u32 tgid;

	if (!is_in_epoll_wait(task))
		return 0;
	tgid = task->tgid;
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (process)
		process->polls_since = bpf_ktime_get_ns();
	return 0;
}

/* ------------------------------------------ a goroutine leaves the netpoller */

/* In pollDesc.rg, what is more than these is a goroutine that is parked. */
enum {
	POLL_NIL,
	POLL_READY,
	POLL_WAIT,
};

/* When what is in the socket was queued; 0 if there is nothing, or it was there before the
 * probes. */
static __always_inline __u64 queued_since(__u64 sk, __u64 now)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &sk);
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (!connection || BPF_CORE_READ(tp, rcv_nxt) == BPF_CORE_READ(tp, copied_seq))
		return 0;
	/* What is being queued at this moment has no time yet. */
	return connection->readable_since ?: now;
}

/* epoll has reported an event of a runtime.pollDesc. */
static __always_inline int reported(__u64 descriptor)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *process = current_process(tgid);
	__u64 goroutine = 0, number = 0, sk, polls_since;
	struct wakeup wakeup = {.ready_at = bpf_ktime_get_ns()};
	struct file *file;

	if (!process || read_user(&goroutine, sizeof(goroutine), descriptor + process->executable.poll_rg) ||
	    goroutine <= POLL_WAIT || read_user(&number, sizeof(number), descriptor + process->executable.poll_fd))
		return 0;
	file = file_of_descriptor(number);
	sk = file ? (__u64)tcp_sock_of_file(file) : 0;
	wakeup.queued_at = sk ? queued_since(sk, wakeup.ready_at) : 0;
	if (!wakeup.queued_at)
		return 0;
	if (wakeup.queued_at > wakeup.ready_at)
		wakeup.queued_at = wakeup.ready_at;
	polls_since = process->polls_since;
	wakeup.polled_at = wakeup.queued_at < polls_since && polls_since < wakeup.ready_at ? polls_since : wakeup.queued_at;
	if (bpf_map_update_elem(&wakeups, &sk, &wakeup, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

/* netpollready(toRun *gList, pd *pollDesc, mode int32) */
SEC("uprobe")
int ready(struct pt_regs *ctx)
{
	return reported(GO_ARG2(ctx));
}

/* (*pollDesc).setEventErr(pd *pollDesc, b bool, seq uintptr), which netpoll() calls right
 * before what was netpollready(). */
SEC("uprobe")
int ready_inlined(struct pt_regs *ctx)
{
	return reported(GO_ARG1(ctx));
}

/* ------------------------------------------------------------ and then it reads */

static __always_inline void count(const struct wakeup *wakeup, __u64 now)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct wakeup_stages *stages = entry_of(&wakeup_stages, &tgid, &no_wakeup_stages);

	if (!stages) {
		count_lost(LOST_MAP_FULL);
		return;
	}
	if (now < wakeup->ready_at)
		now = wakeup->ready_at;
	OBSERVE(wakeup_nanoseconds, &tgid, now - wakeup->queued_at);
	wakeup_stages_add(&stages->kernel, wakeup->polled_at - wakeup->queued_at);
	wakeup_stages_add(&stages->poller, wakeup->ready_at - wakeup->polled_at);
	wakeup_stages_add(&stages->run_queue, now - wakeup->ready_at);
}

/* A read has copied data. At the end of the stream it copies none. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(data_copied, struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct wakeup *found = bpf_map_lookup_elem(&wakeups, &address), wakeup;

	if (!found)
		return 0;
	wakeup = *found;
	bpf_map_delete_elem(&wakeups, &address);
	count(&wakeup, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(connection_destroyed, const struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&wakeups, &address);
	return 0;
}

remove_ended_from(wakeups)

/* ---------------------------------------- the goroutine of a connection begins */

/* (*conn).serve(c *conn, ctx context.Context). Where its stack has to grow it may come here
 * twice. */
SEC("uprobe")
int serve_entry(struct pt_regs *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *process = current_process(tgid);
	struct connection *connection;
	struct go_interface net = {};
	__u64 now = bpf_ktime_get_ns(), sk;

	if (!process || process->executable.conn_net == ABSENT || READ(net, GO_ARG1(ctx) + process->executable.conn_net))
		return 0;
	sk = (__u64)socket_of(&process->executable, &net);
	connection = sk ? bpf_map_lookup_elem(&connections, &sk) : NULL;
	if (!connection || !connection->accepted_at || connection->is_served)
		return 0;
	connection->is_served = 1;
	OBSERVE(goroutine_start_nanoseconds, &tgid, now > connection->accepted_at ? now - connection->accepted_at : 0);
	return 0;
}
