/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The Go executables and processes that a probe observes. The including file
 * defines struct executable (the members of which the exporter fills by name
 * from the executable's own type data) and struct process, whose first member
 * is a struct executable named executable. One that shares the map processes with
 * another object declares it before, and defines SHARED_PROCESSES.
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

#ifndef SHARED_PROCESSES
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");
#endif

/*
 * Introduces a process that user space has not, such as a new one of an executable that
 * is observed already: it is known by the file that it executes. A function of its own
 * because a struct process takes a good part of the stack.
 */
__noinline int introduce(__u32 tgid)
{
	struct executable_key key = {};
	struct executable *executable;
	struct process fresh = {}, *process;

	read_executable_key(&key);
	executable = bpf_map_lookup_elem(&executables, &key);
	if (!executable)
		return 0;
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (process) {
		process->executable = *executable;
		return 0;
	}
	fresh.executable = *executable;
	if (bpf_map_update_elem(&processes, &tgid, &fresh, BPF_NOEXIST) == -E2BIG)
		count_lost(LOST_MAP_FULL);
	return 0;
}

/* The process with a number, if it executes a file that is observed. */
static __always_inline struct process *current_process(__u32 tgid)
{
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (process && process->executable.id)
		return process;
	introduce(tgid);
	process = bpf_map_lookup_elem(&processes, &tgid);
	return process && process->executable.id ? process : NULL;
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
