//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Where slow requests burn CPU. A clock on each CPU runs this program at a fixed
 * frequency. It keeps a sample only where the goroutine on the CPU works on a request
 * that has been in flight for longer than slow requests of its process take, so what
 * fast requests and everything else do costs a look into a map.
 *
 * The goroutine is the current one of the thread's M (runtime.m.curg), also while the
 * thread runs on its system stack for it: to collect garbage, to grow its stack.
 */
#define LOST_REASONS LOST_STACK_UNREADABLE, LOST_STACK_MAP_FULL,
#include "request.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Samples in a second on each CPU, by which user space attaches the program. */
const volatile __u64 frequency = 99;

/* kernel.perf_event_max_stack, unless somebody has changed it. */
#define MAX_FRAMES 127

/* A stack of a route: the counts of two stacks with one hash would be added up. */
struct stack_key {
	struct request_key request;
	__u32 unused;
	__u64 hash; /* of what comes behind count in struct stack */
};

struct stack {
	__u64 count;
	__u64 in_kernel; /* the program was interrupted in the kernel */
	/* The function on top has no frame before it has made one, and a short one never has:
	 * then it returns here, and its caller is not among the frames. 0 where this is no address of code. */
	__u64 return_address;
	__u64 frames[MAX_FRAMES]; /* addresses, the innermost first; 0 behind the last */
};

/* Keeps them in the object's BTF, by which a test compares what user space reads. */
struct stack_key *stack_key_in_btf SEC(".data.names") = NULL;
struct stack *stack_in_btf SEC(".data.names") = NULL;

struct stack_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct stack_key);
	__type(value, struct stack);
};

/* User space empties it once a second (exporter/hotspot). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct stack_map);
} hotspot_stacks SEC(".maps");

struct sample_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct request_key);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct sample_map);
} hotspot_samples SEC(".maps");

/* By process, of requests whose path found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct request_key);
	__type(value, __u64);
} hotspot_samples_overflow SEC(".maps");

/* A sample is too large for the stack of the program, which nothing else that writes
 * here interrupts. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack);
} fresh_stack SEC(".maps");

/* A register of the thread's own code: in the context, or where the kernel has saved it. The
 * context must be read by its name; without the barrier the compiler reads both ways by
 * one pointer. */
#define USER_REGISTER(TO, CTX, SAVED, NAME)                                     \
	do {                                                                    \
		if (SAVED) {                                                    \
			bpf_probe_read_kernel(&(TO), sizeof(TO), &(SAVED)->NAME); \
		} else {                                                        \
			(TO) = (CTX)->NAME;                                     \
			barrier_var(TO);                                        \
		}                                                               \
	} while (0)

#if defined(__TARGET_ARCH_x86)

#define IN_KERNEL(ctx) (((ctx)->cs & 3) == 0) /* the privilege level */

/* g is the thread's variable at -8(FS), as Go's linker places it in an executable
 * (cmd/link/internal/ld/sym.go, tlsoffset). R14 has it in Go's own code only. */
static __always_inline __u64 current_g(struct pt_regs *ctx, const struct pt_regs *saved)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 g = 0;

	bpf_probe_read_user(&g, sizeof(g), (void *)(BPF_CORE_READ(task, thread.fsbase) - 8));
	return g;
}

/* CALL leaves the return address at the top of the stack. */
static __always_inline __u64 return_address(struct pt_regs *ctx, const struct pt_regs *saved)
{
	__u64 sp = 0, address = 0;

	USER_REGISTER(sp, ctx, saved, rsp);
	bpf_probe_read_user(&address, sizeof(address), (void *)sp);
	return address;
}

#elif defined(__TARGET_ARCH_arm64)

#define IN_KERNEL(ctx) ((((const struct user_pt_regs *)(ctx))->pstate & 0xf) != 0) /* the exception level */

/* R28 is g in all of Go's code, and C has to keep it for its caller. */
static __always_inline __u64 current_g(struct pt_regs *ctx, const struct pt_regs *saved)
{
	__u64 g = 0;

	USER_REGISTER(g, GO_REGS(ctx), GO_REGS(saved), regs[28]);
	return g;
}

/* BL leaves it in the link register. */
static __always_inline __u64 return_address(struct pt_regs *ctx, const struct pt_regs *saved)
{
	__u64 address = 0;

	USER_REGISTER(address, GO_REGS(ctx), GO_REGS(saved), regs[30]);
	return address;
}

#endif

/* The address of the goroutine that the thread works for, or 0. */
static __always_inline __u64 current_goroutine(const struct executable *executable, __u64 g)
{
	__u64 m = 0, current = 0;

	if (executable->g_m == ABSENT || executable->m_curg == ABSENT ||
	    bpf_probe_read_user(&m, sizeof(m), (void *)(g + executable->g_m)) ||
	    bpf_probe_read_user(&current, sizeof(current), (void *)(m + executable->m_curg)))
		return 0;
	return current;
}

static __always_inline bool is_code(__u64 address)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return address >= BPF_CORE_READ(task, mm, start_code) && address < BPF_CORE_READ(task, mm, end_code);
}

/* FNV-1a (Fowler, Noll and Vo), a word at a time. */
static __always_inline __u64 hash_of(const struct stack *stack)
{
	__u64 hash = 0xcbf29ce484222325;

	hash = (hash ^ stack->in_kernel) * 0x100000001b3;
	hash = (hash ^ stack->return_address) * 0x100000001b3;
#pragma nounroll
	for (int i = 0; i < MAX_FRAMES && stack->frames[i]; i++)
		hash = (hash ^ stack->frames[i]) * 0x100000001b3;
	return hash;
}

static __always_inline void count_stack(struct stack_key *key, struct stack *fresh)
{
	__u32 first = 0;
	void *map = bpf_map_lookup_elem(&hotspot_stacks, &first);
	struct stack *stack;

	if (!map)
		return;
	key->hash = hash_of(fresh);
	stack = bpf_map_lookup_elem(map, key);
	if (!stack) {
		fresh->count = 0;
		bpf_map_update_elem(map, key, fresh, BPF_NOEXIST);
		stack = bpf_map_lookup_elem(map, key);
	}
	if (stack)
		__sync_fetch_and_add(&stack->count, 1);
	else
		count_lost(LOST_STACK_MAP_FULL);
}

/* Adds a sample to a route, or to all other routes of the process where there is no room. */
static __always_inline void count_sample(struct request_key *key)
{
	__u64 zero = 0, *samples;
	__u32 first = 0;
	void *map = bpf_map_lookup_elem(&hotspot_samples, &first);

	if (!map)
		return;
	samples = bpf_map_lookup_elem(map, key);
	if (!samples) {
		bpf_map_update_elem(map, key, &zero, BPF_NOEXIST);
		samples = bpf_map_lookup_elem(map, key);
	}
	if (samples) {
		__sync_fetch_and_add(samples, 1);
		return;
	}
	__builtin_memset(key->path, 0, sizeof(key->path));
	key->path_source = PATH_OTHER;
	add_to(&hotspot_samples_overflow, key, 1);
}

/* Whether a request is in flight for longer than slow ones of its process take. */
static __always_inline bool is_slow_already(const struct process *process, __u32 tgid, const struct work *work)
{
	bool given;
	__u64 threshold = threshold_of(process, tgid, &given), now = bpf_ktime_get_ns();

	return (given || threshold) && now > work->started_at && before_handler(work) + now - work->started_at > threshold;
}

SEC("perf_event")
int sample(struct pt_regs *ctx)
{
	struct goroutine goroutine = {.tgid = bpf_get_current_pid_tgid() >> 32};
	struct process *process = bpf_map_lookup_elem(&processes, &goroutine.tgid);
	const struct pt_regs *saved = NULL;
	struct stack_key key = {};
	struct stack *stack;
	struct work *work;
	bool in_kernel = IN_KERNEL(ctx), has_registers = !in_kernel;
	__u32 first = 0;

	if (!process || !process->executable.id)
		return 0;
	if (in_kernel && bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		saved = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
		has_registers = true;
	}
	goroutine.executable = process->executable.id;
	goroutine.g = current_goroutine(&process->executable, current_g(ctx, saved));
	work = bpf_map_lookup_elem(&goroutines, &goroutine);
	if (!work || !work->started_at || !is_slow_already(process, goroutine.tgid, work))
		return 0;
	stack = bpf_map_lookup_elem(&fresh_stack, &first);
	if (!stack)
		return 0;
	key.request.tgid = goroutine.tgid;
	key.request.executable = goroutine.executable;
	key.request.method = method_number(work->request, &process->executable);
	name_path(&key.request, work, &process->executable);
	stack->in_kernel = in_kernel;
	stack->return_address = has_registers ? return_address(ctx, saved) : 0;
	if (!is_code(stack->return_address))
		stack->return_address = 0;
	if (bpf_get_stack(ctx, stack->frames, sizeof(stack->frames), BPF_F_USER_STACK) > 0)
		count_stack(&key, stack);
	else
		count_lost(LOST_STACK_UNREADABLE);
	count_sample(&key.request);
	return 0;
}
