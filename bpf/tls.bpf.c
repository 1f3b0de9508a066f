//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Every TLS handshake of every Go server that uses crypto/tls, with two uprobe
 * hits for each.
 *
 * The first is at the entry of (*Conn).serverHandshake, which handshakes of
 * clients do not pass. The second is at the entry of a function that
 * (*Conn).handshakeContext defers right before it calls the former, "defer
 * c.in.Unlock()": it runs when the handshake has succeeded, has failed, or has
 * panicked, and never for a call that finds the handshake done. A handshake of a
 * client is one hit there that finds nothing.
 */
#include "go.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What the exporter found in an executable's own type data; the members are
 * filled by name (tls.yaml, executables). Offsets are bytes. */
struct executable {
	__u32 id;
	__u16 conn_in; /* the mutex that is unlocked */
	__u16 conn_complete, conn_version, conn_resumed;
};

struct process {
	struct executable executable;
};

#include "go_process.h"

struct handshake {
	__u64 conn;       /* *tls.Conn */
	__u64 started_at; /* CLOCK_MONOTONIC, nanoseconds */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct goroutine);
	__type(value, struct handshake);
} handshakes_in_flight SEC(".maps");

struct handshake_key {
	__u32 tgid;
	__u32 executable;
	__u16 version; /* as on the wire, 0x0304 for TLS 1.3; 0 if they agreed on none */
	__u8 resumed;
	__u8 failed;
};

HISTOGRAM(handshake_nanoseconds, struct handshake_key, 1024, 320);

/* (*Conn).serverHandshake(c *Conn, ctx context.Context) error */
SEC("uprobe")
int handshake_entry(struct pt_regs *ctx)
{
	struct goroutine goroutine = {.g = GO_G(ctx), .tgid = bpf_get_current_pid_tgid() >> 32};
	struct handshake handshake = {.conn = GO_ARG1(ctx), .started_at = bpf_ktime_get_ns()};
	struct process *process = current_process(goroutine.tgid);

	if (!process)
		return 0;
	goroutine.executable = process->executable.id;
	if (bpf_map_update_elem(&handshakes_in_flight, &goroutine, &handshake, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

/* func() { c.in.Unlock() }: the closure holds its code and &c.in. */
SEC("uprobe")
int handshake_end(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns(), mutex = 0;
	struct goroutine goroutine = {.g = GO_G(ctx), .tgid = bpf_get_current_pid_tgid() >> 32};
	struct process *process = current_process(goroutine.tgid);
	const struct executable *executable;
	struct handshake_key key = {};
	struct handshake *handshake;
	__u64 conn, started_at;
	__u32 complete = 0;

	if (!process)
		return 0;
	executable = &process->executable;
	goroutine.executable = executable->id;
	handshake = bpf_map_lookup_elem(&handshakes_in_flight, &goroutine);
	if (!handshake) /* a client's, or it began before the probe */
		return 0;
	conn = handshake->conn;
	started_at = handshake->started_at;
	/* A callback of the server's handshake may have made a client's one. */
	if (read_user(&mutex, sizeof(mutex), GO_CLOSURE(ctx) + 8) || mutex != conn + executable->conn_in)
		return 0;
	bpf_map_delete_elem(&handshakes_in_flight, &goroutine);
	read_user(&complete, sizeof(complete), conn + executable->conn_complete);
	read_user(&key.version, sizeof(key.version), conn + executable->conn_version);
	read_user(&key.resumed, sizeof(key.resumed), conn + executable->conn_resumed);
	key.tgid = goroutine.tgid;
	key.executable = executable->id;
	key.failed = !complete;
	OBSERVE(handshake_nanoseconds, &key, now - started_at);
	return 0;
}
