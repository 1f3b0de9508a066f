/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The few kernel types that the probes read, each with only the members that
 * they read. preserve_access_index makes every access a CO-RE relocation, so
 * the offsets come from the running kernel's BTF and this file needs to match
 * no kernel exactly; a vmlinux.h of three megabytes would add nothing.
 */
#ifndef TCPSLO_KERNEL_H
#define TCPSLO_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define E2BIG 7 /* a full hash map */
#define ENOMEM 12
#define EEXIST 17
#define BPF_RB_NO_WAKEUP 1

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175, /* Linux 5.15 */
};

enum {
	BPF_F_USER_STACK = 1 << 8,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

/* User registers, as the kernel's ABI lays them out (asm/ptrace.h). */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	unsigned long orig_rax, rip, cs, eflags, rsp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_rcv_saddr;
	struct in6_addr skc_v6_daddr;
	refcount_t skc_refcnt;
};

struct socket;

typedef struct {
	int owned; /* by a process; softirqs put packets for it aside meanwhile */
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	atomic_t sk_drops;
	struct socket *sk_socket;
	__u16 sk_protocol;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	socket_lock_t sk_lock;
	__u16 sk_type;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	__u8 sk_userlocks : 4;
	__u8 sk_shutdown;
};

struct super_block {
	unsigned int s_dev;
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct request_sock {
	struct sock_common __req_common;
	struct sock *sk;
};

struct fastopen_queue {
	int qlen;
	int max_qlen;
};

struct request_sock_queue {
	atomic_t qlen;
	struct request_sock *rskq_accept_head;
	struct request_sock *rskq_accept_tail;
	struct fastopen_queue fastopenq;
};

struct tcp_fastopen_cookie {
	__s8 len;
};

struct inet_bind_bucket {
	__s8 fastreuse;
};

struct inet_connection_sock {
	struct inet_bind_bucket *icsk_bind_hash;
	struct request_sock_queue icsk_accept_queue;
};

struct tcp_sock {
	__u32 srtt_us;
	__u32 rcv_nxt, rcv_wup, rcv_wnd; /* next byte expected; what was expected when a window of rcv_wnd bytes was announced */
	__u32 copied_seq; /* next byte to be read */
	__u32 window_clamp; /* largest window to announce */
	__u32 write_seq; /* next byte to be written */
	__u32 snd_nxt;   /* next byte to be sent */
	__u32 snd_una;   /* first byte that is not acknowledged */
};

struct mptcp_sock {
	struct sock *first;
};

struct sk_buff {
	__be16 protocol;
	struct sock *sk;
	unsigned char *head, *data;
	unsigned int len;
	__u16 transport_header; /* offset from head */
	unsigned int truesize; /* bytes of memory */
	char cb[48];
};

/* What TCP keeps in sk_buff.cb. */
struct tcp_skb_cb {
	__u32 ack_seq;
};

#define IFNAMSIZ 16

struct net_device {
	char name[IFNAMSIZ];
};

struct napi_struct {
	struct net_device *dev;
};

/* Numbers of drop reasons move from release to release; only names are asked. */
enum skb_drop_reason {
	SKB_DROP_REASON_TCP_LISTEN_OVERFLOW = 1,
	SKB_DROP_REASON_SOCKET_RCVBUFF,
	SKB_DROP_REASON_PROTO_MEM,
	SKB_DROP_REASON_SOCKET_BACKLOG,
	SKB_DROP_REASON_TCP_OFO_QUEUE_PRUNE,
	SKB_DROP_REASON_TCP_ZEROWINDOW,
	SKB_DROP_REASON_TCP_INVALID_SEQUENCE,
	SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE,
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct mm_struct {
	struct file *exe_file;
	unsigned long start_code, end_code; /* of what is executed, without its libraries */
};

struct signal_struct {
	atomic_t live;
};

struct thread_struct {
	unsigned long fsbase; /* of x86 */
};

struct task_struct {
	void *stack;
	int pid;
	int tgid;
	struct mm_struct *mm;
	struct files_struct *files;
	struct signal_struct *signal;
	struct thread_struct thread;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
};

#pragma clang attribute pop

/* RFC 9293, section 3.1, as far as it is read. */
struct tcphdr {
	__be16 source, dest;
	__be32 seq, ack_seq;
	__u8 data_offset; /* in words of four bytes, times 16 */
	__u8 flags;
};

/* The record of a perf syscall tracepoint on exit; this layout is ABI
 * (include/trace/trace_events.h, struct syscall_trace_exit). */
struct sys_exit_record {
	__u64 common;
	long nr;
	long ret;
};

enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_MPTCP = 262,
	ETH_P_IP = 0x0800,
	TCP_FLAG_RST = 4, /* in struct tcphdr */
	RCV_SHUTDOWN = 1, /* include/net/sock.h: nothing more will come */
	SOCK_BINDPORT_LOCK = 8, /* include/net/sock.h: bind() was given a port */
	SOCKFS_MAGIC = 0x534F434B, /* include/uapi/linux/magic.h */
};

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
};

#endif
