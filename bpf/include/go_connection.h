/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * From a connection of net/http to its socket. The struct executable of the including
 * file has the members conn_net, fd_number, fd_family and fd_type, and its YAML fills the
 * map steps (executables, unwrap).
 */
#ifndef TCPSLO_GO_CONNECTION_H
#define TCPSLO_GO_CONNECTION_H

#include "go_process.h"
#include "listener.h"

/* How a connection wraps the next one, see goexe.Unwrap. */
enum step_kind {
	STEP_INTERFACE, /* to a value in an interface, whose itab tells its type */
	STEP_POINTER,   /* to a struct of the type next */
	STEP_END,       /* to a net.netFD */
};

struct step_key {
	__u32 executable;
	__u32 type; /* abi.Type.Hash */
};

struct step {
	__u32 offset; /* of the field that leads on */
	__u32 kind;
	__u32 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct step_key);
	__type(value, struct step);
} steps SEC(".maps");

/* Wrapped more often than this, a connection is not found. */
#define MAX_STEPS 8

#define READ(TO, FROM) bpf_probe_read_user(&(TO), sizeof(TO), (const void *)(FROM))

/* A Go interface that holds a pointer. */
struct go_interface {
	__u64 itab;
	__u64 data;
};

/* The hash of the type that an interface value holds: itab.Type and Type.Hash
 * (internal/abi, iface.go and type.go). An itab's own hash is 0 where the runtime made it. */
static __always_inline long read_type(__u32 *hash, __u64 itab)
{
	__u64 type = 0;

	return READ(type, itab + 8) ?: READ(*hash, type + 16);
}

/* The net.netFD of a net.Conn, or 0. A function of its own, which the verifier looks at once. */
__noinline __u64 unwrap(__u32 executable, __u64 itab, __u64 data)
{
	struct step_key key = {.executable = executable};
	struct go_interface net = {};
	struct step *step;

	if (read_type(&key.type, itab))
		return 0;
	for (int i = 0; i < MAX_STEPS; i++) {
		step = bpf_map_lookup_elem(&steps, &key);
		if (!step)
			return 0;
		if (step->kind == STEP_INTERFACE) {
			if (READ(net, data + step->offset) || read_type(&key.type, net.itab))
				return 0;
			data = net.data;
			continue;
		}
		if (READ(data, data + step->offset))
			return 0;
		if (step->kind == STEP_END)
			return data;
		key.type = step->next;
	}
	return 0;
}

/* The socket behind a net.Conn, or NULL. A connection of another kind than TCP leads to no
 * descriptor of a TCP socket: net.netFD repeats what socket() was called with. */
static __always_inline struct sock *socket_of(const struct executable *executable, const struct go_interface *net)
{
	__u64 fd, number = 0, family = 0, type = 0;
	struct file *file;

	fd = unwrap(executable->id, net->itab, net->data);
	if (!fd || READ(number, fd + executable->fd_number) ||
	    READ(family, fd + executable->fd_family) || READ(type, fd + executable->fd_type))
		return NULL;
	if ((family != AF_INET && family != AF_INET6) || type != SOCK_STREAM || number > 0x7fffffff)
		return NULL;
	file = file_of_descriptor(number);
	return file ? tcp_sock_of_file(file) : NULL;
}

#endif
