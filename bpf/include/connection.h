/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * One record of each TCP connection, which several probes write to: accept notes
 * when a process took it, socketio when data came and was read and when a packet
 * left, timeline when the peer has acknowledged, and http adds up what a request's stages
 * took when its handler returns.
 * The maps here are one for all of them (LIBBPF_PIN_BY_NAME).
 */
#ifndef TCPSLO_CONNECTION_H
#define TCPSLO_CONNECTION_H

#include "tcpslo.h"

#define LIBBPF_PIN_BY_NAME 1

/* Set by the exporter: the collector timeline runs. */
const volatile __u64 with_timeline = 0;

#define NOT_SEEN (~0ULL)
#define MAX_CONNECTIONS 65536
#define MAX_PATH 128

enum path_source {
	PATH_PATTERN, /* Request.Pattern */
	PATH_RAW,     /* Request.URL.Path: no pattern */
	PATH_OTHER,   /* there was no room for another path */
};

enum method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_PATCH,
	METHOD_DELETE,
	METHOD_CONNECT,
	METHOD_OPTIONS,
	METHOD_TRACE,
};

/* What requests are added up by. */
struct request_key {
	__u32 tgid;
	__u32 executable;
	__u16 status; /* 0 where their stages are added up */
	__u8 method;  /* enum method; a route may be of one */
	__u8 path_source;
	char path[MAX_PATH - 1]; /* ends where a NUL is, or all of it */
	__u8 client_gone;        /* before the handler had ended; 0 where stages are added up */
};

/* Times are CLOCK_MONOTONIC, nanoseconds, and 0 where there is none. Durations are
 * nanoseconds. */
struct connection {
	__u64 met_at; /* tells one connection from the next at the same address */

	/* Reads and writes, see socketio.bpf.c. */
	__u64 readable_since; /* there is data to read since then */
	__u64 taken_since;    /* what the read that goes on has copied first was there since then */
	__u64 taken_at;       /* and was copied then */
	__u64 written_at;     /* by a write that waits for its first packet */
	__u32 first_byte;     /* of that write: its sequence number */
	__u32 written_by;     /* process */
	__u32 writer;         /* thread whose write goes on */
	__u32 is_measured;    /* that write set written_at */
	__u32 left;           /* bytes that the read that goes on has not taken */

	/* The request under way, if the collector timeline runs. */
	__u32 response_begins; /* sequence number: what comes behind it answers the request */
	__u64 handshake, accept_queue; /* durations, for its first request */
	__u64 accepted_at;
	__u64 request_since;           /* the first byte of a request is there since then */
	__u64 read_at;                 /* and was first read then */
	__u64 returned_at;             /* from the last handler */
	__u64 answer_since;            /* the first packet of its response is awaited since then */
	__u64 ack_since;               /* and then its acknowledgement since then */
	__u64 told;                    /* the number of that request, if user space was told of it */
	struct request_key route;      /* of that request */
	__u32 requests;                /* that its handlers began */
	__u32 acknowledged; /* the last sequence number that acknowledged all that was written */
	__u32 inode;        /* of its socket, once a request has come */
	__u32 is_served;    /* its goroutine runs, see netpoll.bpf.c */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, __u64); /* struct sock */
	__type(value, struct connection);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} connections SEC(".maps");

/* Never written: what a new entry starts from. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection);
} no_connection SEC(".maps");

/* How it is counted that there is no room for a connection. */
#ifndef LOST_CONNECTION
#define LOST_CONNECTION LOST_MAP_FULL
#endif

static __always_inline struct connection *meet_connection(__u64 sk)
{
	struct connection *connection = entry_of(&connections, &sk, &no_connection);

	if (!connection)
		count_lost(LOST_CONNECTION);
	else if (!connection->met_at)
		connection->met_at = bpf_ktime_get_ns();
	return connection;
}

/* What can be read now, if anything, belongs to the next request. While a read goes
 * on that took a part of it (net/http reads one byte ahead), it has no time yet. */
static __always_inline void await_request(struct connection *connection, __u64 sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (BPF_CORE_READ(tp, rcv_nxt) == BPF_CORE_READ(tp, copied_seq))
		connection->request_since = 0;
	else
		connection->request_since = connection->readable_since ? connection->readable_since : bpf_ktime_get_ns();
}

/* ------------------------------------------------- the stages of a request */

#define STAGE_SLOTS 32 /* a power of two */
HISTOGRAM_LAYOUT(request_stages, STAGE_SLOTS);

struct request_stages {
	struct request_stages_histogram handshake, accept_queue, read_wait, parse, handler, first_packet, ack;
};

struct request_stages_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct request_key);
	__type(value, struct request_stages);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__array(values, struct request_stages_map);
} request_stages SEC(".maps");

/* By process, of requests whose path found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct request_key);
	__type(value, struct request_stages);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} request_stages_overflow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct request_stages);
} no_stages SEC(".maps");

/* The row of a route, or of all other routes of the process where there is no room. */
static __always_inline struct request_stages *stages_of(struct request_key *key)
{
	__u32 first = 0;
	void *map = bpf_map_lookup_elem(&request_stages, &first);
	struct request_stages *stages = map ? entry_of(map, key, &no_stages) : NULL;

	if (stages)
		return stages;
	__builtin_memset(key->path, 0, sizeof(key->path));
	key->path_source = PATH_OTHER;
	stages = entry_of(&request_stages_overflow, key, &no_stages);
	if (!stages)
		count_lost(LOST_MAP_FULL);
	return stages;
}

#endif
