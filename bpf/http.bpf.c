//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Every request of every Go HTTP server, with two uprobe hits for each.
 *
 * The first is at the entry of net/http.serverHandler.ServeHTTP. The second is,
 * for HTTP/1, where (*conn).serve looks at what (*conn).hijacked returned, which
 * it calls right after the handler; for HTTP/2, the deferred function of runHandler, which runs on return and on
 * panic alike. A handler that panics over HTTP/1 skips the return; the
 * goroutine of its connection then ends in the deferred function of serve, one
 * hit for a connection.
 *
 * A profile-guided build may have inlined serverHandler.ServeHTTP into
 * (*conn).serve: there a probe is in the inlined body too, and what the
 * registers do not tell is found from the connection.
 *
 * Requests are added up here; user space empties the map when it likes.
 */
#define LOST_REASONS LOST_REQUEST_NOT_FOUND, LOST_CONNECTION_MAP_FULL, LOST_STAGE_RING_BUFFER_FULL,
/* Such a request is counted, without the stages that its connection knows. */
#define LOST_CONNECTION LOST_CONNECTION_MAP_FULL
#include "listener.h"
#include "record.h"
#include "request.h"
#define SHARED_PROCESSES
#include "go_connection.h"
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What one uprobe trap costs without any program, measured at start. */
const volatile __u64 uprobe_trap_nanoseconds = 0;

/* Status codes below 100 do not exist: they stand for outcomes. */
enum outcome {
	OUTCOME_PANIC = 1,
	OUTCOME_HIJACKED = 2,
};

HISTOGRAM_TYPES(request_nanoseconds, 320)

struct request_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct request_key);
	__type(value, struct request_nanoseconds_histogram);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct request_map);
} request_nanoseconds SEC(".maps");

/* What user space is asked to do. */
enum wish_kind {
	WISH_DRAIN = 1,  /* empty the map: a path found no room */
	WISH_ROUTER = 2, /* attach router_entry: a request ended without a pattern */
};

struct wish {
	__u32 kind;
	__u32 executable;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} wishes SEC(".maps");

static __always_inline void wish(__u32 kind, __u32 executable)
{
	struct wish *wish = bpf_ringbuf_reserve(&wishes, sizeof(*wish), 0);

	if (!wish)
		return; /* full of the same: user space is awake already */
	wish->kind = kind;
	wish->executable = executable;
	bpf_ringbuf_submit(wish, 0);
}

/* Requests by process, status and method whose path found no room: exact in
 * everything but the path. */
HISTOGRAM_ENTRIES(request_overflow, request_nanoseconds, struct request_key, 512);

struct server_key {
	__u64 server; /* *http.Server */
	__u32 tgid;
	char address[64]; /* Server.Addr */
	__u32 unused;
};

struct server_timeouts {
	__s64 read, read_header, write, idle; /* nanoseconds, 0 for none */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct server_key);
	__type(value, struct server_timeouts);
} servers SEC(".maps");

struct known_server {
	__u64 server;
	__u32 tgid;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct known_server);
	__type(value, __u8);
} known_servers SEC(".maps");

/* A look at the clock costs as much as a look into a map, so one hit in sixteen, by
 * the low digits of the time that it came, stands for all. */
#define SAMPLED 16

static __always_inline int account(struct process *process, __u64 began)
{
	__sync_fetch_and_add(&process->hits, 1);
	if (((began >> 3) & (SAMPLED - 1)) == 0)
		__sync_fetch_and_add(&process->overhead_nanoseconds,
				     SAMPLED * (uprobe_trap_nanoseconds + bpf_ktime_get_ns() - began));
	return 0;
}

/* A function of its own because of what it has on the stack. */
__noinline int meet_server(__u32 tgid, __u64 server)
{
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct known_server known = {.server = server, .tgid = tgid};
	struct server_timeouts timeouts = {};
	struct server_key key = {};
	struct go_string address = {};
	const struct executable *executable;
	__u8 yes = 1;

	if (!process || bpf_map_lookup_elem(&known_servers, &known))
		return 0;
	executable = &process->executable;
	key.server = server;
	key.tgid = tgid;
	if (read_user(&address, sizeof(address), server + executable->server_addr) ||
	    read_user(&timeouts.read, 8, server + executable->server_read_timeout) ||
	    read_user(&timeouts.read_header, 8, server + executable->server_read_header_timeout) ||
	    read_user(&timeouts.write, 8, server + executable->server_write_timeout) ||
	    read_user(&timeouts.idle, 8, server + executable->server_idle_timeout))
		return 0;
	if (address.length > sizeof(key.address) - 1)
		address.length = sizeof(key.address) - 1;
	if (address.length)
		read_user(key.address, address.length & 63, address.data);
	if (bpf_map_update_elem(&servers, &key, &timeouts, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	bpf_map_update_elem(&known_servers, &known, &yes, BPF_ANY);
	return 0;
}

/* The connection of a record: a struct sock, of which the slab makes others, and when it was met. */
struct joined {
	__u64 sk;
	__u64 met_at;
};

/* What a server of HTTP/2 holds a connection in, and the connection that this was found to be. */
struct stream_server {
	__u64 conn; /* what responseWriterState.conn points to */
	__u32 tgid;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stream_server);
	__type(value, struct joined);
} stream_connections SEC(".maps");

/* The connection that a goroutine was joined to, unless it has gone. */
static __always_inline struct connection *connection_of(const struct work *work)
{
	struct connection *connection = work->sk ? bpf_map_lookup_elem(&connections, &work->sk) : NULL;

	return connection && connection->met_at == work->met_at ? connection : NULL;
}

/*
 * Joins a goroutine to its connection, by the net.Conn that its response is written to: one of
 * HTTP/1 once. Its response leads back to the server; what doesn't is a stream's, whose
 * goroutine is new, so the way from its server to the socket is kept. That server closes its
 * connection, which then has no struct socket, before another one can be at the same address.
 */
static __always_inline struct connection *join(struct work *work, const struct executable *executable, __u64 server, __u32 tgid)
{
	struct stream_server stream = {.tgid = tgid};
	struct go_interface net = {};
	struct connection *connection;
	__u64 conn = 0, back = 0;
	struct joined *known, joined = {};
	struct sock *sk;

	if (server && !READ(conn, work->response + executable->response_conn) && !READ(back, conn + executable->conn_server) &&
	    back == server) {
		if (READ(net, conn + executable->conn_net))
			return NULL;
	} else {
		work->is_stream = 1;
		if (executable->stream_state == ABSENT || executable->state_conn == ABSENT || executable->stream_conn_net == ABSENT ||
		    READ(conn, work->response + executable->stream_state) || READ(stream.conn, conn + executable->state_conn))
			return NULL;
		known = bpf_map_lookup_elem(&stream_connections, &stream);
		if (known) {
			work->sk = known->sk;
			work->met_at = known->met_at;
			connection = connection_of(work);
			sk = (struct sock *)work->sk;
			if (connection && BPF_CORE_READ(sk, sk_socket))
				return connection;
		}
		if (READ(net, stream.conn + executable->stream_conn_net))
			return NULL;
	}
	sk = socket_of(executable, &net);
	work->sk = (__u64)sk;
	connection = sk ? meet_connection(work->sk) : NULL;
	if (!connection)
		return NULL;
	work->met_at = connection->met_at;
	if (!connection->inode)
		connection->inode = socket_inode(sk);
	if (work->is_stream) {
		joined.sk = work->sk;
		joined.met_at = work->met_at;
		bpf_map_update_elem(&stream_connections, &stream, &joined, BPF_ANY);
	}
	return connection;
}

/* The first streams of a connection may begin on several CPUs at once. Which of them has the
 * stages of the connection is decided here; after that, connection.requests tells. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct joined);
	__type(value, __u8);
} begun SEC(".maps");

static __always_inline bool is_first(const struct work *work, const struct connection *connection)
{
	struct joined key = {.sk = work->sk, .met_at = work->met_at};
	__u8 yes = 1;

	if (connection->requests)
		return false;
	return !work->is_stream || !bpf_map_update_elem(&begun, &key, &yes, BPF_NOEXIST);
}

/* What a request went through before its handler. Of a stream only what its connection did
 * is known: frames of many streams are in one segment, and are read before they are awaited. */
static __always_inline void look_back(struct work *work, struct connection *connection)
{
	struct tcp_sock *tp = (struct tcp_sock *)work->sk;
	__u64 since = connection->request_since;

	if (connection->accepted_at && is_first(work, connection)) {
		work->accept_queue = connection->accept_queue;
		if (connection->handshake)
			work->handshake = connection->handshake;
		/* What came before waited along with its connection. */
		if (since && since < connection->accepted_at)
			since = connection->accepted_at;
	}
	__sync_fetch_and_add(&connection->requests, 1);
	if (work->is_stream)
		return;
	if (since && connection->read_at >= since && connection->read_at <= work->started_at) {
		work->read_wait = connection->read_at - since;
		work->parse = work->started_at - connection->read_at;
	} else if (!since && connection->returned_at) {
		/* It was read along with the request before it (pipelining). */
		work->parse = work->started_at - connection->returned_at;
	}
	work->response_begins = BPF_CORE_READ(tp, write_seq);
}

static __always_inline int begin(struct pt_regs *ctx, __u64 server, __u64 response, __u64 request)
{
	struct work fresh = {
		.started_at = bpf_ktime_get_ns(), .response = response, .request = request, .server = server,
		.handshake = NOT_SEEN, .accept_queue = NOT_SEEN, .read_wait = NOT_SEEN, .parse = NOT_SEEN,
	};
	struct goroutine goroutine = {.g = GO_G(ctx), .tgid = bpf_get_current_pid_tgid() >> 32};
	struct process *process = current_process(goroutine.tgid);
	struct connection *connection = NULL;
	struct work *work;

	if (!process)
		return 0;
	goroutine.executable = process->executable.id;
	work = bpf_map_lookup_elem(&goroutines, &goroutine);
	if (work && work->started_at && work->response == response && work->request == request) {
		/* A stream of golang.org/x/net/http2 that net/http's server handles has two entries. */
		if (server) {
			work->server = server;
			meet_server(goroutine.tgid, server);
		}
		return account(process, fresh.started_at);
	}
	if (work) {
		fresh.sk = work->sk;
		fresh.met_at = work->met_at;
		connection = connection_of(&fresh);
	} else if (with_timeline && response) {
		connection = join(&fresh, &process->executable, server, goroutine.tgid);
	}
	if (connection)
		look_back(&fresh, connection);
	else
		fresh.sk = 0; /* it has gone, or was not found */
	if (work) {
		*work = fresh;
		return account(process, fresh.started_at);
	}
	if (bpf_map_update_elem(&goroutines, &goroutine, &fresh, BPF_NOEXIST))
		count_lost(LOST_MAP_FULL);
	if (server)
		meet_server(goroutine.tgid, server);
	return account(process, fresh.started_at);
}

/* serverHandler.ServeHTTP(srv *Server, rw ResponseWriter, req *Request) */
SEC("uprobe")
int serve_entry(struct pt_regs *ctx)
{
	return begin(ctx, GO_ARG1(ctx), GO_ARG3(ctx), GO_ARG4(ctx));
}

/* (*serverConn).runHandler(rw *responseWriter, req *http.Request, handler) of
 * golang.org/x/net/http2, whose streams need not pass serverHandler. */
SEC("uprobe")
int xnet_stream_entry(struct pt_regs *ctx)
{
	return begin(ctx, 0, GO_ARG2(ctx), GO_ARG3(ctx));
}

/* The body of serverHandler.ServeHTTP inlined into (*conn).serve(c): c has its
 * home above the return address of serve, and c.curReq is the response. Both
 * point to each other, or it is something else. */
SEC("uprobe")
int serve_entry_inlined(struct pt_regs *ctx)
{
	struct process *process = current_process(bpf_get_current_pid_tgid() >> 32);
	const struct executable *executable;
	__u64 conn = 0, response = 0, back = 0, server = 0, request = 0;

	if (!process)
		return 0;
	executable = &process->executable;
	if (read_user(&conn, sizeof(conn), GO_SP(ctx) + executable->inlined_depth + 8) ||
	    read_user(&response, sizeof(response), conn + executable->conn_current) ||
	    read_user(&back, sizeof(back), response + executable->response_conn) || back != conn ||
	    read_user(&request, sizeof(request), response + executable->response_request) ||
	    read_user(&server, sizeof(server), conn + executable->conn_server)) {
		count_lost(LOST_REQUEST_NOT_FOUND);
		return begin(ctx, 0, 0, 0);
	}
	return begin(ctx, server, response, request);
}

/* The status is set along with wroteHeader. Where it is 0, finishRequest() will
 * write 200 (src/net/http/server.go). */
static __always_inline __u16 read_status(__u64 at)
{
	__u64 status = 0;

	read_user(&status, sizeof(status), at);
	return status ? status : 200;
}

static __always_inline __u16 http2_status(const struct work *work, const struct executable *executable)
{
	__u64 state = 0;

	if (executable->stream_state == ABSENT ||
	    read_user(&state, sizeof(state), work->response + executable->stream_state) || !state)
		return 200;
	return read_status(state + executable->state_status);
}

/* ------------------------------------------------- clients that left */

/*
 * net/http cancels the context of a request when a read of its connection fails: the client
 * has closed it, or its sending side, or has reset it (src/net/http/server.go,
 * handleReadErrorLocked()). Then it notes that, so a handler that returns for it may be quicker
 * than the note, but not than what the socket tells.
 */

/* What was sent before is read first, so a pipelined request hides it from both. A connection that
 * the process itself has closed has no struct socket; that of MPTCP leads to the socket that
 * all of its subflows belong to. */
static __always_inline bool is_left(const struct sock *sk)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;

	return BPF_CORE_READ(sk, sk_socket, sk, sk_shutdown) & RCV_SHUTDOWN &&
	       (__s32)(BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq)) <= 1; /* the FIN */
}

/* The close_notify of TLS comes before the FIN, and a Unix socket isn't looked at. */
static __always_inline bool is_noticed(const struct work *work, const struct executable *executable)
{
	__u8 noticed = 0;

	return executable->response_noticed != ABSENT && !READ(noticed, work->response + executable->response_noticed) && noticed;
}

#define STREAM_CLOSED 4 /* stateClosed */

/*
 * A stream is closed before its handler has ended, which cancels its context, if the client
 * has reset it or the connection has gone (src/net/http/h2_bundle.go, closeStream(); since Go 1.27
 * src/net/http/internal/http2/server.go). The server closes one itself if no body is to
 * follow the head, and if WriteTimeout has passed.
 */
static __always_inline bool is_left_stream(const struct work *work, const struct executable *executable, __u8 method, __u64 took)
{
	__u64 state = 0, stream = 0, write_deadline = 0;
	__s64 write_timeout = 0;
	__u8 lifecycle = 0;

	if (method == METHOD_HEAD || executable->stream_state == ABSENT || executable->state_stream == ABSENT ||
	    executable->stream_lifecycle == ABSENT || executable->stream_write_deadline == ABSENT ||
	    READ(state, work->response + executable->stream_state) || READ(stream, state + executable->state_stream) ||
	    READ(lifecycle, stream + executable->stream_lifecycle) || lifecycle != STREAM_CLOSED ||
	    READ(write_deadline, stream + executable->stream_write_deadline))
		return false;
	return !write_deadline ||
	       (work->server && !READ(write_timeout, work->server + executable->server_write_timeout) && (__s64)took < write_timeout);
}

/* How many rows were ever added to request_nanoseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} rows_added SEC(".maps");

/* User space is asked to empty the map long before it is full. */
#define ROWS_BETWEEN_DRAINS 1024

static __always_inline struct request_nanoseconds_histogram *new_row(void *map, struct request_key *key)
{
	struct request_nanoseconds_histogram *row = request_nanoseconds_entry(map, key);
	__u32 first = 0;
	__u64 *added = bpf_map_lookup_elem(&rows_added, &first);

	if (added) {
		__sync_fetch_and_add(added, 1);
		if (*added % ROWS_BETWEEN_DRAINS == 0 || !row)
			wish(WISH_DRAIN, key->executable);
	}
	if (row)
		return row;
	__builtin_memset(key->path, 0, sizeof(key->path));
	key->path_source = PATH_OTHER;
	return request_nanoseconds_entry(&request_overflow, key);
}

static __always_inline void count_request(struct request_key *key, __u64 nanoseconds)
{
	struct request_nanoseconds_histogram *row;
	__u32 first = 0;
	void *map = bpf_map_lookup_elem(&request_nanoseconds, &first);

	if (!map)
		return;
	row = bpf_map_lookup_elem(map, key);
	if (!row)
		row = new_row(map, key);
	if (row)
		request_nanoseconds_add(row, nanoseconds);
	else
		count_lost(LOST_MAP_FULL);
}

/* ------------------------------------------------- requests one by one */

/*
 * Whether a request took longer than 99 % of its process do. The estimate of that
 * percentile goes up by a 32nd with each request above it and down by a 99th of that with
 * each below, so it rests where one in a hundred is above (Robbins and Monro, A Stochastic
 * Approximation Method, 1951), and follows when all requests become slower: 150 of
 * them make it a hundred times larger. What two CPUs write at once is lost, which does
 * it no harm.
 */
static __always_inline bool is_slow(struct process *process, __u32 tgid, __u64 took, __u64 *threshold)
{
	bool given;
	__u64 estimate = threshold_of(process, tgid, &given), step = estimate / 32;

	*threshold = estimate;
	if (given)
		return took > estimate;
	if (!estimate)
		process->slow_after = took;
	else
		process->slow_after = took > estimate ? estimate + step : estimate - step / 99;
	return estimate && took > estimate;
}

/*
 * Whether a request that was not slow may be in the uniform sample of those in this
 * window of time. Those with the lowest of random tags are one (bottom-k sampling); how
 * many requests will come is not known, so the bound goes down by a 64th with each that is
 * told of: with n requests it is near 64 in n, after 64 * ln(1 + n/64) of them. User space
 * keeps fewer than 64.
 */
#define SAMPLE_WINDOW 600000000000ULL /* nanoseconds */

static __always_inline bool is_in_sample(struct process *process, __u64 now, __u32 tag)
{
	__u32 window = 1 + now / SAMPLE_WINDOW; /* 0: none so far */

	if (process->sample_window != window) {
		process->sample_window = window;
		process->sample_below = ~0U;
	}
	if (tag > process->sample_below)
		return false;
	process->sample_below -= process->sample_below / 64;
	return true;
}

static __always_inline void read_addresses(struct request_record *record, const struct sock *sk)
{
	__be32 ip;

	record->local.family = record->remote.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	record->local.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	record->remote.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (record->local.family == AF_INET6) {
		BPF_CORE_READ_INTO(&record->local.ip, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&record->remote.ip, sk, __sk_common.skc_v6_daddr);
		return;
	}
	ip = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	__builtin_memcpy(record->local.ip, &ip, sizeof(ip));
	ip = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	__builtin_memcpy(record->remote.ip, &ip, sizeof(ip));
}

/*
 * The header Traceparent of a request (W3C Trace Context). A Go map keeps its keys in
 * groups of eight; which one a key is in would take its hash. A map made for the header
 * of one request has few: a bounded number of them is searched.
 */
#define TRACE_PARENT_LENGTH 55
#define MAX_GROUPS 8
#define GROUP_HEAD 8     /* bytes, one for each key */
#define SIZEOF_GROUP 328 /* with a head, eight strings and eight slices */
#define KEYS_APART 40    /* since Go 1.24, where each key has its value behind it */
#define KEYS_TOGETHER 16 /* before (src/runtime/map.go), and where Go is built so */

struct go_slice {
	__u64 data;
	__u64 length;
	__u64 capacity;
};

/* Where the value of Traceparent is in a group, or 0. A function that the verifier looks
 * at once. */
__noinline __u64 trace_parent_in(__u64 group, __u64 stride)
{
	struct {
		__u64 first;
		__u32 rest;
		__u32 unused;
	} name;
	struct go_string key;
	__u64 at;

#pragma nounroll
	for (int i = 0; i < 8; i++) {
		at = group + GROUP_HEAD + i * stride;
		if (bpf_probe_read_user(&key, sizeof(key), (const void *)at))
			return 0;
		if (key.length != 11)
			continue;
		__builtin_memset(&name, 0, sizeof(name));
		if (bpf_probe_read_user(&name, 11, (const void *)key.data))
			return 0;
		if (name.first == 0x7261706563617254 /* Tracepar */ && name.rest == 0x746e65 /* ent */)
			return stride == KEYS_APART ? at + sizeof(key) : group + GROUP_HEAD + 8 * KEYS_TOGETHER + i * sizeof(struct go_slice);
	}
	return 0;
}

static __always_inline __u64 find_trace_parent(__u64 header, const struct executable *executable)
{
	__u64 groups = 0, mask = 0, value = 0, overflow = 0;
	__u8 bits = 0;

	if (executable->map_directory != ABSENT) { /* src/internal/runtime/maps/map.go */
		/* Of a directory with tables, the first one; without, one group. */
		if (READ(groups, header + executable->map_directory) || READ(mask, header + executable->map_directory_length))
			return 0;
		if (mask && (READ(groups, groups) || READ(mask, groups + executable->table_mask) || READ(groups, groups + executable->table_groups)))
			return 0;
#pragma nounroll
		for (int i = 0; i < MAX_GROUPS && i <= mask && !value; i++)
			value = trace_parent_in(groups + i * SIZEOF_GROUP, KEYS_APART);
		return value;
	}
	if (executable->hmap_buckets == ABSENT || READ(groups, header + executable->hmap_buckets) || READ(bits, header + executable->hmap_bits))
		return 0;
#pragma nounroll
	for (int i = 0; i < MAX_GROUPS && !(i >> (bits & 31)) && !value; i++) {
		__u64 bucket = groups + i * (SIZEOF_GROUP + sizeof(overflow));

		value = trace_parent_in(bucket, KEYS_TOGETHER);
		if (!value && !READ(overflow, bucket + SIZEOF_GROUP) && overflow)
			value = trace_parent_in(overflow, KEYS_TOGETHER);
	}
	return value;
}

/* The address of the text of a request's Traceparent, or 0. Another function that the
 * verifier looks at once: of Linux 5.10, it may have no pointer as an argument. */
__noinline __u64 trace_parent_of(__u64 request)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct go_string text = {};
	__u64 header = 0, values;

	if (!process || process->executable.request_header == ABSENT ||
	    READ(header, request + process->executable.request_header) || !header)
		return 0;
	values = find_trace_parent(header, &process->executable);
	if (!values || READ(values, values) || READ(text, values) || text.length != TRACE_PARENT_LENGTH)
		return 0;
	return text.data;
}

/* What is known of the first packet of a response when its handler has ended. */
enum answer {
	ANSWER_NONE,    /* there is none, or its connection is not known */
	ANSWER_BEGUN,   /* it has left: its acknowledgement is awaited */
	ANSWER_AWAITED, /* and then its acknowledgement */
};

/* Tells user space of a request that is slow, or in the sample. Returns the request's
 * number, or 0. */
static __always_inline __u64 tell(struct process *process, const struct goroutine *goroutine, const struct work *work,
				  const struct request_key *key, __u64 ended, bool is_connected, enum answer answer)
{
	__u64 handler = ended - work->started_at, threshold, number, trace_parent;
	__u64 took = before_handler(work) + handler;
	bool slow = is_slow(process, goroutine->tgid, took, &threshold);
	__u32 tag = bpf_get_prandom_u32();
	struct request_record *record;

	if (!slow && !is_in_sample(process, ended, tag))
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost(LOST_RING_BUFFER_FULL);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->kind = RECORD_REQUEST;
	record->tag = tag;
	/* A CPU is in this program once at a time. 56 bits of nanoseconds are two years. */
	number = ended << 8 | (__u8)bpf_get_smp_processor_id();
	record->request = number;
	if (process->executable.g_goid != ABSENT)
		read_user(&record->goroutine, sizeof(record->goroutine), goroutine->g + process->executable.g_goid);
	record->ended_at = ended;
	record->threshold = threshold;
	record->handshake = work->handshake;
	record->accept_queue = work->accept_queue;
	record->read_wait = work->read_wait;
	record->parse = work->parse;
	record->handler = handler;
	record->first_packet = answer == ANSWER_BEGUN ? 0 : NOT_SEEN;
	if (is_connected)
		read_addresses(record, (const struct sock *)work->sk);
	record->is_slow = slow;
	record->is_awaited = answer != ANSWER_NONE;
	record->key = *key;
	trace_parent = trace_parent_of(work->request);
	if (trace_parent)
		bpf_probe_read_user(record->trace_parent, TRACE_PARENT_LENGTH, (const void *)trace_parent);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return number;
}

static __always_inline enum answer answer_of(const struct work *work, bool answers)
{
	struct tcp_sock *tp = (struct tcp_sock *)work->sk;

	if (!answers)
		return ANSWER_NONE;
	return (__s32)(BPF_CORE_READ(tp, snd_nxt) - work->response_begins) > 0 ? ANSWER_BEGUN : ANSWER_AWAITED;
}

/*
 * The acknowledgement may come while this program runs: what is not in snd_una yet is
 * in the connection, if it came before ack_since was there to be found.
 */
static __always_inline bool all_is_acknowledged(const struct connection *connection, __u64 sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 written = BPF_CORE_READ(tp, write_seq);

	return BPF_CORE_READ(tp, snd_una) == written || connection->acknowledged == written;
}

/*
 * Adds up the stages of a request whose handler has ended. The first packet of the
 * response comes later, unless it left before the handler ended, and so does its
 * acknowledgement.
 */
static __always_inline void count_stages(const struct work *work, struct request_key *key, __u64 ended,
					 struct connection *connection, enum answer answer, __u64 told)
{
	struct request_stages *stages = stages_of(key);

	if (!stages)
		return;
	if (work->handshake != NOT_SEEN)
		request_stages_add(&stages->handshake, work->handshake);
	if (work->accept_queue != NOT_SEEN)
		request_stages_add(&stages->accept_queue, work->accept_queue);
	if (work->read_wait != NOT_SEEN)
		request_stages_add(&stages->read_wait, work->read_wait);
	if (work->parse != NOT_SEEN)
		request_stages_add(&stages->parse, work->parse);
	request_stages_add(&stages->handler, ended - work->started_at);

	if (!connection || work->is_stream)
		return;
	await_request(connection, work->sk);
	connection->read_at = 0;
	connection->returned_at = ended;
	if (answer == ANSWER_NONE)
		return;
	record_packet(connection, RECORD_ACK, NOT_SEEN); /* of the response before, if that is still awaited */
	connection->ack_since = 0;
	connection->route = *key;
	connection->response_begins = work->response_begins;
	connection->told = told;
	barrier();
	if (answer == ANSWER_AWAITED) {
		connection->answer_since = ended;
		return;
	}
	connection->ack_since = ended;
	request_stages_add(&stages->first_packet, 0);
	if (all_is_acknowledged(connection, work->sk) && connection->ack_since)
		response_acknowledged(connection, ended);
}

/* The timeline of a request whose handler has ended. Changes the key. */
static __always_inline void end_timeline(struct process *process, const struct goroutine *goroutine, const struct work *work,
					 struct request_key *key, __u64 ended, struct connection *connection, bool answers)
{
	enum answer answer = answer_of(work, answers && connection);
	__u64 told = with_slow_requests ? tell(process, goroutine, work, key, ended, connection, answer) : 0;

	key->status = 0;
	key->client_gone = 0;
	count_stages(work, key, ended, connection, answer, told);
}

/* Where a request ends. */
enum end {
	END_RETURN,     /* of an HTTP/1 handler: its goroutine reads the next request */
	END_CONNECTION, /* of HTTP/1: what is still open here did not return */
	END_STREAM,     /* of HTTP/2, by return or panic */
};

/* Counts a request that has ended. */
static __always_inline void count(struct pt_regs *ctx, struct process *process, const struct goroutine *goroutine,
				  const struct work *work, enum end end, bool panics, __u64 ended)
{
	const struct executable *executable = &process->executable;
	struct request_key key = {.tgid = goroutine->tgid, .executable = executable->id};
	struct connection *connection = with_timeline ? connection_of(work) : NULL;

	key.method = method_number(work->request, executable);
	name_path(&key, work, executable);
	if (end == END_CONNECTION || panics)
		key.status = OUTCOME_PANIC;
	else if (end == END_RETURN)
		key.status = (__u8)GO_RESULT1(ctx) ? OUTCOME_HIJACKED : read_status(work->response + executable->response_status);
	else
		key.status = http2_status(work, executable);
	/* A router that refuses a request leaves no pattern either. */
	if (key.path_source == PATH_RAW && executable->request_pat != ABSENT && !process->asked_for_router &&
	    key.status != 400 && key.status != 404 && key.status != 405) {
		process->asked_for_router = 1;
		wish(WISH_ROUTER, executable->id);
	}
	if (end == END_STREAM)
		key.client_gone = is_left_stream(work, executable, key.method, ended - work->started_at);
	else if (key.status != OUTCOME_HIJACKED)
		key.client_gone = is_noticed(work, executable) || (connection && is_left((const struct sock *)work->sk));
	count_request(&key, ended - work->started_at);
	if (with_timeline)
		end_timeline(process, goroutine, work, &key, ended, connection, end == END_RETURN && key.status != OUTCOME_HIJACKED);
}

static __always_inline int finish(struct pt_regs *ctx, enum end end, bool panics)
{
	__u64 began = bpf_ktime_get_ns();
	struct goroutine goroutine = {.g = GO_G(ctx), .tgid = bpf_get_current_pid_tgid() >> 32};
	struct process *process = current_process(goroutine.tgid);
	struct work *work;

	if (!process)
		return 0;
	goroutine.executable = process->executable.id;
	work = bpf_map_lookup_elem(&goroutines, &goroutine);
	if (!work) /* began before the probe */
		return account(process, began);
	if (work->started_at) /* or it is counted already */
		count(ctx, process, &goroutine, work, end, panics, began);
	if (end == END_RETURN)
		work->started_at = 0;
	else
		bpf_map_delete_elem(&goroutines, &goroutine);
	return account(process, began);
}

/* (*conn).hijacked(c *conn) bool has returned to serve. */
SEC("uprobe")
int serve_return(struct pt_regs *ctx)
{
	return finish(ctx, END_RETURN, false);
}

/* The deferred function of (*conn).serve. */
SEC("uprobe")
int connection_end(struct pt_regs *ctx)
{
	return finish(ctx, END_CONNECTION, false);
}

/* The deferred function of HTTP/2's runHandler. While a panic unwinds the stack,
 * g._panic points to it (src/runtime/panic.go). */
SEC("uprobe")
int stream_end(struct pt_regs *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *process = current_process(tgid);
	__u64 panic = 0;

	if (process && process->executable.g_panic != ABSENT)
		read_user(&panic, sizeof(panic), GO_G(ctx) + process->executable.g_panic);
	return finish(ctx, END_STREAM, panic != 0);
}

/* A router that got a copy of the request (r.WithContext) notes the pattern in
 * the copy. Attached only to executables where requests without a pattern
 * were seen. */
SEC("uprobe")
int router_entry(struct pt_regs *ctx)
{
	__u64 began = bpf_ktime_get_ns();
	struct goroutine goroutine = {.g = GO_G(ctx), .tgid = bpf_get_current_pid_tgid() >> 32};
	struct process *process = current_process(goroutine.tgid);
	struct work *work;

	if (!process)
		return 0;
	goroutine.executable = process->executable.id;
	work = bpf_map_lookup_elem(&goroutines, &goroutine);
	if (work && work->request != GO_ARG4(ctx))
		work->routed = GO_ARG4(ctx);
	return account(process, began);
}
