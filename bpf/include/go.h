/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What programs at Go functions need: Go's register convention (ABIInternal,
 * src/cmd/compile/abi-internal.md), strings, and the executable that the
 * current process runs.
 */
#ifndef TCPSLO_GO_H
#define TCPSLO_GO_H

#include "tcpslo.h"

#if defined(__TARGET_ARCH_x86)
#define GO_ARG1(ctx) ((ctx)->rax)
#define GO_RESULT1(ctx) ((ctx)->rax)
#define GO_ARG2(ctx) ((ctx)->rbx)
#define GO_ARG3(ctx) ((ctx)->rcx)
#define GO_ARG4(ctx) ((ctx)->rdi)
#define GO_CLOSURE(ctx) ((ctx)->rdx)
#define GO_G(ctx) ((ctx)->r14)
#define GO_IP(ctx) ((ctx)->rip)
#define GO_SP(ctx) ((ctx)->rsp)
#elif defined(__TARGET_ARCH_arm64)
#define GO_REGS(ctx) ((const struct user_pt_regs *)(ctx))
#define GO_ARG1(ctx) (GO_REGS(ctx)->regs[0])
#define GO_RESULT1(ctx) (GO_REGS(ctx)->regs[0])
#define GO_ARG2(ctx) (GO_REGS(ctx)->regs[1])
#define GO_ARG3(ctx) (GO_REGS(ctx)->regs[2])
#define GO_ARG4(ctx) (GO_REGS(ctx)->regs[3])
#define GO_CLOSURE(ctx) (GO_REGS(ctx)->regs[26])
#define GO_G(ctx) (GO_REGS(ctx)->regs[28])
#define GO_IP(ctx) (GO_REGS(ctx)->pc)
#define GO_SP(ctx) (GO_REGS(ctx)->sp)
#endif

struct go_string {
	__u64 data;
	__u64 length;
};

/* Members that an executable does not have are set to this by the exporter. */
#define ABSENT 0xffff

/* Which file a process executes, as the kernel names it. */
struct executable_key {
	__u64 device; /* (major << 20) | minor */
	__u64 inode;
};

/* A goroutine of a process, as long as it executes one file. A goroutine's
 * address is its own while it lives. */
struct goroutine {
	__u64 g;
	__u32 tgid;
	__u32 executable;
};

static __always_inline int read_user(void *to, __u32 size, __u64 from)
{
	long error = bpf_probe_read_user(to, size, (const void *)from);

	if (error)
		count_lost(LOST_USER_MEMORY_UNREADABLE);
	return error;
}

static __always_inline void read_executable_key(struct executable_key *key)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);

	key->inode = BPF_CORE_READ(inode, i_ino);
	key->device = BPF_CORE_READ(inode, i_sb, s_dev);
}

#endif
