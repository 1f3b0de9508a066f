//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * How long a Go function takes, for probes that are only YAML (go_function).
 * Entry and return of one call are matched by the goroutine and by how far the
 * stack pointer is from the top of its stack: that distance tells the calls of
 * a recursive function apart and stays the same when the runtime moves the
 * stack. A call that ends in a panic never returns; its entry is replaced by
 * the next call at the same depth of the goroutine.
 */
#include "go.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct executable {
	__u32 id;
	__u16 g_stack; /* runtime.g.stack, whose second word is the top */
	__u16 unused;
};

struct process {
	struct executable executable;
};

#include "go_process.h"

struct call {
	struct goroutine goroutine;
	__u64 depth; /* bytes below the top of the stack */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct call);
	__type(value, __u64);
} calls SEC(".maps");

struct function_key {
	__u32 tgid;
	__u32 executable;
};

HISTOGRAM(function_nanoseconds, struct function_key, 4096, 320);

static __always_inline struct process *this_call(struct pt_regs *ctx, struct call *call)
{
	struct process *process;
	__u64 top = 0;

	call->goroutine.g = GO_G(ctx);
	call->goroutine.tgid = bpf_get_current_pid_tgid() >> 32;
	process = current_process(call->goroutine.tgid);
	if (process)
		call->goroutine.executable = process->executable.id;
	if (!process || read_user(&top, sizeof(top), call->goroutine.g + process->executable.g_stack + 8))
		return NULL;
	call->depth = top - GO_SP(ctx);
	return process;
}

SEC("uprobe")
int function_entry(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct call call = {};

	if (this_call(ctx, &call) && bpf_map_update_elem(&calls, &call, &now, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

SEC("uprobe")
int function_return(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns(), *began;
	struct function_key key = {};
	struct call call = {};
	struct process *process = this_call(ctx, &call);

	if (!process)
		return 0;
	began = bpf_map_lookup_elem(&calls, &call);
	if (!began)
		return 0;
	now -= *began;
	bpf_map_delete_elem(&calls, &call);
	key.tgid = call.goroutine.tgid;
	key.executable = process->executable.id;
	OBSERVE(function_nanoseconds, &key, now);
	return 0;
}
