/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The Go executables and processes that a probe observes. The including file
 * defines struct executable (the members of which the exporter fills by name
 * from the executable's own type data) and struct process, whose first member
 * is a struct executable named executable.
 */
#ifndef TCPSLO_GO_PROCESS_H
#define TCPSLO_GO_PROCESS_H

#include "go.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct executable_key);
	__type(value, struct executable);
} executables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

/*
 * The process with a number. One that user space has not introduced yet, such
 * as a new process of an executable that is observed already, is known by the
 * file that it executes.
 */
static __always_inline struct process *current_process(__u32 tgid)
{
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct executable_key key = {};
	struct executable *executable;
	struct process fresh = {};

	if (process && process->executable.id)
		return process;
	read_executable_key(&key);
	executable = bpf_map_lookup_elem(&executables, &key);
	if (!executable)
		return NULL;
	if (process) {
		process->executable = *executable;
		return process;
	}
	fresh.executable = *executable;
	if (bpf_map_update_elem(&processes, &tgid, &fresh, BPF_NOEXIST) == -E2BIG)
		count_lost(LOST_MAP_FULL);
	return bpf_map_lookup_elem(&processes, &tgid);
}

/* The offsets of one executable are nonsense in the next: forgotten before the
 * new image runs, found again at its first hit. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (process)
		process->executable.id = 0;
	return 0;
}

#endif
