/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The requests that are in flight: http writes them, and hotspots looks at what a
 * goroutine on a CPU works on. The maps here are one for both (LIBBPF_PIN_BY_NAME).
 */
#ifndef TCPSLO_REQUEST_H
#define TCPSLO_REQUEST_H

#include "connection.h"
#include "go.h"

/* What the exporter found in an executable's own type data; the members are
 * filled by name (http.yaml, executables). Offsets are bytes. */
struct executable {
	__u32 id;
	__u32 inlined_depth; /* of the stack at serve_entry_inlined */
	__u16 response_conn, response_request, response_status, response_noticed;
	__u16 conn_server, conn_current;
	__u16 request_method, request_url, url_path;
	__u16 request_pattern;          /* since Go 1.23 */
	__u16 request_pat, pattern_str; /* of Go 1.22 */
	__u16 stream_state, state_status, state_conn, stream_conn_net; /* HTTP/2 */
	__u16 state_stream, stream_lifecycle, stream_write_deadline;
	__u16 server_addr, server_read_timeout, server_read_header_timeout, server_write_timeout, server_idle_timeout;
	__u16 g_panic, g_goid;
	__u16 g_m, m_curg;
	__u16 conn_net; /* net.Conn */
	__u16 fd_number, fd_family, fd_type;
	__u16 request_header;
	__u16 map_directory, map_directory_length, table_groups, table_mask; /* since Go 1.24 */
	__u16 hmap_buckets, hmap_bits;                                       /* before */
	__u16 unused;
};

struct process {
	struct executable executable;
	__u64 hits;                 /* of any probe here, in this process */
	__u64 overhead_nanoseconds; /* what they have cost it */
	__u64 slow_after;           /* nanoseconds: what 1 % of its requests take longer than */
	__u32 asked_for_router;     /* the exporter was told to attach router_entry */
	__u32 sample_window;        /* that sample_below is of */
	__u32 sample_below;         /* tags of the sample */
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} processes SEC(".maps");

/* What a goroutine works on. One that serves an HTTP/1 connection keeps its entry
 * between requests: to write over it costs a third of making and deleting one. */
struct work {
	__u64 started_at; /* CLOCK_MONOTONIC, nanoseconds; 0 between two requests */
	__u64 response;   /* what the http.ResponseWriter points to */
	__u64 request;    /* *http.Request as the server made it */
	__u64 routed;     /* *http.Request as the last router saw it, or 0 */
	__u64 server;     /* *http.Server, or 0 */
	__u64 sk;         /* struct sock of the connection, or 0 */
	__u64 met_at;     /* of its struct connection */
	__u64 handshake, accept_queue, read_wait, parse; /* nanoseconds, or NOT_SEEN */
	__u32 response_begins; /* behind this sequence number */
	__u32 is_stream;       /* of HTTP/2: its connection is not its own */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct goroutine);
	__type(value, struct work);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} goroutines SEC(".maps");

static __always_inline __u64 or_nothing(__u64 stage)
{
	return stage == NOT_SEEN ? 0 : stage;
}

/* What a request went through before its handler, as far as it was seen, in nanoseconds. */
static __always_inline __u64 before_handler(const struct work *work)
{
	return or_nothing(work->handshake) + or_nothing(work->accept_queue) + or_nothing(work->read_wait) + or_nothing(work->parse);
}

/* ------------------------------------------------- method and route */

static __always_inline __u8 method_number(__u64 request, const struct executable *executable)
{
	struct go_string method = {};
	__u64 text = 0;

	if (read_user(&method, sizeof(method), request + executable->request_method))
		return METHOD_OTHER;
	if (method.length == 0)
		return METHOD_GET; /* net/http: the empty string means GET */
	if (method.length > 7)
		return METHOD_OTHER;
	if (read_user(&text, method.length & 7, method.data))
		return METHOD_OTHER;
#define IS(name) (text == TEXT(name))
#define CHAR(name, i) ((__u64)(sizeof(name) > (i) ? (name)[(i) < sizeof(name) ? (i) : 0] : 0) << (8 * (i)))
#define TEXT(name) (CHAR(name, 0) | CHAR(name, 1) | CHAR(name, 2) | CHAR(name, 3) | CHAR(name, 4) | CHAR(name, 5) | CHAR(name, 6))
	if (IS("GET"))
		return METHOD_GET;
	if (IS("POST"))
		return METHOD_POST;
	if (IS("HEAD"))
		return METHOD_HEAD;
	if (IS("PUT"))
		return METHOD_PUT;
	if (IS("PATCH"))
		return METHOD_PATCH;
	if (IS("DELETE"))
		return METHOD_DELETE;
	if (IS("CONNECT"))
		return METHOD_CONNECT;
	if (IS("OPTIONS"))
		return METHOD_OPTIONS;
	if (IS("TRACE"))
		return METHOD_TRACE;
	return METHOD_OTHER;
}

static __always_inline __u64 read_path(struct request_key *key, __u64 string)
{
	struct go_string path = {};

	if (read_user(&path, sizeof(path), string))
		return 0;
	if (path.length > MAX_PATH - 1)
		path.length = MAX_PATH - 1;
	if (path.length && read_user(key->path, path.length & (MAX_PATH - 1), path.data))
		return 0;
	return path.length;
}

/* The pattern that a router left in a request; its length, 0 if there is none. */
static __always_inline __u64 read_pattern(struct request_key *key, __u64 request, const struct executable *executable)
{
	__u64 pat = 0;

	if (executable->request_pattern != ABSENT)
		return read_path(key, request + executable->request_pattern);
	if (executable->request_pat == ABSENT || executable->pattern_str == ABSENT ||
	    read_user(&pat, sizeof(pat), request + executable->request_pat) || !pat)
		return 0;
	return read_path(key, pat + executable->pattern_str);
}

static __always_inline void name_path(struct request_key *key, const struct work *work,
				      const struct executable *executable)
{
	__u64 url = 0;

	key->path_source = PATH_PATTERN;
	if (read_pattern(key, work->request, executable) ||
	    (work->routed && read_pattern(key, work->routed, executable)))
		return;
	key->path_source = PATH_RAW;
	if (!read_user(&url, sizeof(url), work->request + executable->request_url) && url)
		read_path(key, url + executable->url_path);
}

/* ------------------------------------------------- what is slow */

/* What a slow request takes longer than, of the processes of services that tcpslo.yml
 * gives it for; nanoseconds, by process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} slower_than SEC(".maps");

/* There are such services. */
const volatile __u64 with_slower_than = 0;

/* What slow requests of a process take longer than, in nanoseconds: given says whether
 * tcpslo.yml does. 0 while nothing is known. */
static __always_inline __u64 threshold_of(const struct process *process, __u32 tgid, bool *given)
{
	__u64 *of_service = with_slower_than ? bpf_map_lookup_elem(&slower_than, &tgid) : NULL;

	*given = of_service != NULL;
	return of_service ? *of_service : process->slow_after;
}

#endif
