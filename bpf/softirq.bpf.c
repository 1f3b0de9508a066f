//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * When packets are received: how long NET_RX softirqs run, how long they wait to
 * run, and which devices have more packets than one poll may take.
 *
 * The programs see every softirq of every kind, so they end early for all others
 * and write to memory of their own CPU only, without atomic instructions: a
 * softirq interrupts no other one on its CPU.
 */
#include "tcpslo.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* include/linux/interrupt.h, ABI of the tracepoint since Linux 2.6.31 */
#define NET_RX_SOFTIRQ 3

PERCPU_HISTOGRAM(run_nanoseconds, 320)
PERCPU_HISTOGRAM(delay_nanoseconds, 320)

/* CLOCK_MONOTONIC, nanoseconds; 0: not raised, not running. */
struct net_rx {
	__u64 raised_at;
	__u64 entered_at;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct net_rx);
} net_rx SEC(".maps");

static __always_inline struct net_rx *this_cpu(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&net_rx, &first);
}

/* It is raised again for each packet that arrives before it runs, and while it
 * runs if there is more to do than one run may take. */
SEC("tp_btf/softirq_raise")
int BPF_PROG(raised, unsigned int vector)
{
	struct net_rx *state;

	if (vector != NET_RX_SOFTIRQ)
		return 0;
	state = this_cpu();
	if (state && !state->raised_at)
		state->raised_at = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(entered, unsigned int vector)
{
	struct net_rx *state;
	__u64 raised_at;

	if (vector != NET_RX_SOFTIRQ)
		return 0;
	state = this_cpu();
	if (!state)
		return 0;
	/* First of all: an interrupt may raise it again while this program runs. */
	raised_at = state->raised_at;
	state->raised_at = 0;
	state->entered_at = bpf_ktime_get_ns();
	if (raised_at)
		delay_nanoseconds_observe(state->entered_at - raised_at);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(exited, unsigned int vector)
{
	struct net_rx *state;

	if (vector != NET_RX_SOFTIRQ)
		return 0;
	state = this_cpu();
	if (!state || !state->entered_at)
		return 0;
	run_nanoseconds_observe(bpf_ktime_get_ns() - state->entered_at);
	state->entered_at = 0;
	return 0;
}

/* ------------------------------------------------------------------- NAPI */

struct device {
	char name[IFNAMSIZ];
};

COUNTER(budget_exhausted, struct device, 1024);

SEC("tp_btf/napi_poll")
int BPF_PROG(polled, struct napi_struct *napi, int work, int budget)
{
	/* What the kernel's own tracepoint calls the backlog of a CPU, into which
	 * loopback, veth and RPS put packets (NO_DEV, include/trace/events/napi.h). */
	const struct device none = {"(no_device)"};
	struct device device = {};
	struct net_device *dev;

	/* netpoll polls with a budget of 0, to send only. */
	if (work < budget || budget <= 0)
		return 0;
	dev = napi->dev;
	if (dev)
		BPF_CORE_READ_STR_INTO(&device.name, dev, name);
	else
		device = none;
	add_to(&budget_exhausted, &device, 1);
	return 0;
}
