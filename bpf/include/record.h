/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What crosses to user space of single requests: the slow ones, and a uniform
 * sample of the others. exporter/timeline reads it.
 */
#ifndef TCPSLO_RECORD_H
#define TCPSLO_RECORD_H

/* The reason of record_packet(), for a file that has no others. */
#ifndef LOST_REASONS
#define LOST_REASONS LOST_STAGE_RING_BUFFER_FULL,
#endif
#include "connection.h"
#include "listener.h"

/* The limit "slow_requests" is not 0, and the collector timeline runs. */
const volatile __u64 with_slow_requests = 0;

enum record_kind {
	RECORD_REQUEST = 1,      /* struct request_record, when a handler has ended */
	/* struct packet_record, if the packet was awaited then: */
	RECORD_FIRST_PACKET = 2,
	RECORD_ACK = 3, /* the last of a request */
};

/* Times are CLOCK_MONOTONIC, in nanoseconds; stages take nanoseconds, or NOT_SEEN. */
struct request_record {
	__u32 kind;
	__u32 tag; /* random: of those that were not slow the lowest of a window are a uniform sample */
	__u64 request; /* its number, unique since the machine started */
	__u64 goroutine; /* runtime.g.goid */
	__u64 ended_at;  /* the handler */
	__u64 threshold; /* what a slow request takes longer than */
	__u64 handshake, accept_queue, read_wait, parse, handler, first_packet;
	struct address local, remote; /* family 0: not known */
	__u32 is_slow;
	__u32 is_awaited; /* a RECORD_ACK will come */
	struct request_key key;
	char trace_parent[56]; /* W3C Trace Context; empty if there was none */
	__u32 unused;
};

struct packet_record {
	__u32 kind;
	__u32 unused;
	__u64 request;
	__u64 took; /* nanoseconds; NOT_SEEN: it will not be seen any more */
};

/* Keeps them in the object's BTF, by which a test compares what user space reads. */
struct request_record *request_record_in_btf SEC(".data.names") = NULL;
struct packet_record *packet_record_in_btf SEC(".data.names") = NULL;

/* User space looks a few times in a second, which costs less than to be woken. At
 * that rate there is room for some ten thousand requests in a second. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} records SEC(".maps");

/* Tells user space of a packet that a request has waited for, if it was told of the request. */
static __always_inline void record_packet(struct connection *connection, enum record_kind kind, __u64 took)
{
	struct packet_record *record;

	if (!with_slow_requests || !connection->told)
		return;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost(LOST_STAGE_RING_BUFFER_FULL); /* the request itself was told of */
		return;
	}
	*record = (struct packet_record){.kind = kind, .request = connection->told, .took = took};
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* The peer has acknowledged all that the response had written by now. */
static __always_inline void response_acknowledged(struct connection *connection, __u64 now)
{
	struct request_stages *stages = stages_of(&connection->route);
	__u64 took = now > connection->ack_since ? now - connection->ack_since : 0;

	connection->ack_since = 0;
	if (stages)
		request_stages_add(&stages->ack, took);
	record_packet(connection, RECORD_ACK, took);
	connection->told = 0;
}

#endif
