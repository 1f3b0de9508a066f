/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What every probe starts from: the kernel's types, the map shapes that the
 * exporter turns into metrics, and the count of what was lost.
 */
#ifndef TCPSLO_H
#define TCPSLO_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/*
 * Every loss has a reason. The exporter publishes lost[] as
 * tcpslo_lost_total{reason} and takes the names from this enum's BTF, lower
 * case and without the LOST_ prefix; a probe may extend it with reasons of its
 * own by defining LOST_REASONS before the include.
 */
#ifndef LOST_REASONS
#define LOST_REASONS
#endif
enum lost_reason {
	LOST_MAP_FULL,
	LOST_RING_BUFFER_FULL,
	LOST_USER_MEMORY_UNREADABLE,
	LOST_REASONS
	LOST_END,
};

/* 32-bit maps never need more; the array is small enough to read whole. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* Keeps enum lost_reason in the object's BTF, where the exporter reads it. */
enum lost_reason lost_reasons_in_btf SEC(".data.names") = LOST_END;

static __always_inline void count_lost(enum lost_reason reason)
{
	__u32 slot = reason;
	__u64 *count = bpf_map_lookup_elem(&lost, &slot);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/*
 * The entry of a key, or a new one that starts from what the array empty has in its
 * only slot: large values have no room on the stack. NULL where the map is full.
 */
static __always_inline void *entry_of(void *map, const void *key, void *empty)
{
	void *entry = bpf_map_lookup_elem(map, key);
	__u32 first = 0;

	if (entry)
		return entry;
	empty = bpf_map_lookup_elem(empty, &first);
	if (!empty)
		return NULL;
	/* Two CPUs may meet here: the loser of the race finds the winner's entry. */
	bpf_map_update_elem(map, key, empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

/* ------------------------------------------------------------- counters */

/* COUNTER(name, key, entries) declares a map that a counter metric reads. */
#define COUNTER(NAME, KEY, ENTRIES)             \
	struct {                                \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, ENTRIES);   \
		__type(key, KEY);               \
		__type(value, __u64);           \
	} NAME SEC(".maps")

static __always_inline void add_to(void *counter, const void *key, __u64 n)
{
	__u64 zero = 0, *count = bpf_map_lookup_elem(counter, key);

	if (!count) {
		/* Two CPUs may meet here: the loser of the race finds the winner's entry. */
		bpf_map_update_elem(counter, key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(counter, key);
		if (!count) {
			count_lost(LOST_MAP_FULL);
			return;
		}
	}
	__sync_fetch_and_add(count, n);
}

/* ----------------------------------------------------------- histograms */

/*
 * Index of the first bound that is not below the value, by halving steps. The
 * steps are constants, so the compiler unrolls them and a verifier of Linux
 * 5.10 sees at most ten comparisons with a bounded index.
 */
static __always_inline __u32 search_bounds(const volatile __u64 *bounds, __u32 slots, __u64 value)
{
	__u32 low = 0;

#pragma unroll
	for (int bit = 9; bit >= 0; bit--) {
		__u32 probe = low + (1U << bit);

		/* Keeps the verifier's idea of the index: it must see this comparison. */
		barrier_var(probe);
		if (probe <= slots - 1 && probe >= 1 && bounds[probe - 1] < value)
			low = probe;
	}
	return low;
}

/*
 * HISTOGRAM(name, key, entries, slots) declares a map that a histogram metric
 * reads and the table of its boundaries. The exporter fills
 * name_bounds[0..name_bound_count) with ascending inclusive upper bounds
 * before the object is loaded (unused entries stay at the largest value);
 * slot i counts the values v with bounds[i-1] < v <= bounds[i], and the slot
 * behind the last bound counts all that is larger. OBSERVE(name, &key, value)
 * finds the slot by binary search: exact boundaries, nothing interpolated. The search
 * is a function that the verifier looks at once: the ways through it would multiply with all
 * that comes after.
 */
#define HISTOGRAM_LAYOUT(NAME, SLOTS)                      \
	const volatile __u64 NAME##_bounds[SLOTS] = {};    \
	struct NAME##_histogram {                          \
		__u64 sum;                                 \
		__u64 slots[SLOTS];                        \
	};                                                 \
	__noinline __u32 NAME##_slot(__u64 value)          \
	{                                                  \
		return search_bounds(NAME##_bounds, SLOTS, value); \
	}                                                  \
	static __always_inline __attribute__((unused)) void NAME##_add(struct NAME##_histogram *to, __u64 value) \
	{                                                  \
		__u32 slot = NAME##_slot(value);           \
		barrier_var(slot);                         \
		/* Or adding a constant 0 becomes an instruction of Linux 5.12. */ \
		barrier_var(value);                        \
		if (slot < SLOTS)                          \
			__sync_fetch_and_add(&to->slots[slot], 1); \
		__sync_fetch_and_add(&to->sum, value);     \
	}

#define HISTOGRAM_TYPES(NAME, SLOTS)                       \
	HISTOGRAM_LAYOUT(NAME, SLOTS)                      \
	/* Never written: what a new entry starts from, too large for the stack. */ \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_ARRAY);          \
		__uint(max_entries, 1);                    \
		__type(key, __u32);                        \
		__type(value, struct NAME##_histogram);    \
	} NAME##_zero SEC(".maps");                        \
	static __always_inline struct NAME##_histogram *NAME##_entry(void *map, const void *key) \
	{                                                  \
		return entry_of(map, key, &NAME##_zero);   \
	}

/* A further map of the histograms that HISTOGRAM_TYPES(TYPES, ...) declared. */
#define HISTOGRAM_ENTRIES(NAME, TYPES, KEY, ENTRIES)       \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_HASH);           \
		__uint(max_entries, ENTRIES);              \
		__type(key, KEY);                          \
		__type(value, struct TYPES##_histogram);   \
	} NAME SEC(".maps")

#define HISTOGRAM(NAME, KEY, ENTRIES, SLOTS)               \
	HISTOGRAM_TYPES(NAME, SLOTS)                       \
	HISTOGRAM_ENTRIES(NAME, NAME, KEY, ENTRIES)

/*
 * PERCPU_HISTOGRAM(name, slots) has one entry for each CPU and no key. It is for
 * programs that nothing else on their CPU interrupts, as in a softirq: name_observe(value)
 * adds without atomic instructions.
 */
#define PERCPU_HISTOGRAM(NAME, SLOTS)                     \
	HISTOGRAM_LAYOUT(NAME, SLOTS)                     \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);  \
		__uint(max_entries, 1);                   \
		__type(key, __u32);                       \
		__type(value, struct NAME##_histogram);   \
	} NAME SEC(".maps");                              \
	static __always_inline void NAME##_observe(__u64 value) \
	{                                                 \
		__u32 first = 0, slot = NAME##_slot(value); \
		struct NAME##_histogram *mine = bpf_map_lookup_elem(&NAME, &first); \
		barrier_var(slot);                        \
		if (!mine || slot >= SLOTS)               \
			return;                           \
		mine->slots[slot]++;                      \
		mine->sum += value;                       \
	}

#define OBSERVE(NAME, KEY, VALUE)                                   \
	do {                                                        \
		struct NAME##_histogram *__entry = NAME##_entry(&NAME, KEY); \
		if (__entry)                                        \
			NAME##_add(__entry, VALUE);                 \
		else                                                \
			count_lost(LOST_MAP_FULL);                  \
	} while (0)

#endif
