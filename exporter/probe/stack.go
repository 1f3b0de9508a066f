// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

const labelOwnStack = "tcpslo.own_stack"

// withOwnStack returns a program for uprobes that has its variables on the kernel's stack of
// the thread that runs it, as BPF programs always had before Linux 6.13.
//
// Since then the kernel gives one that uses 64 bytes or more a stack for each CPU
// (bpf_enable_priv_stack(), kernel/bpf/verifier.c), which is safe as long as a program ends
// on a CPU before it begins there again. The kernel sees to that at kprobes and
// tracepoints, and not at uprobes (uprobe_prog_run(), kernel/trace/bpf_trace.c): there a
// program can be preempted where the kernel can, and a thread that hits the uprobe meanwhile
// writes over the variables of the first. Keys of maps become nonsense, so that entries
// are neither found nor deleted. A program with a tail call gets no such stack, although the
// call is never reached: the verifier looks for it before it removes what is dead.
func withOwnStack(program asm.Instructions) asm.Instructions {
	return prepend(asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.JEq.Imm(asm.R0, 0, labelOwnStack),
		asm.FnTailCall.Call(),
	}, program, labelOwnStack)
}

// prepend puts instructions before a program, whose first one gets the label. Jumps are
// relative, so this moves none. What the kernel knows of a program stands at its first
// instruction, wherever that is.
func prepend(head, program asm.Instructions, label string) asm.Instructions {
	first := program[0]
	head[0] = btf.WithFuncMetadata(head[0], btf.FuncMetadata(&first)).WithSymbol(first.Symbol()).WithSource(first.Source())
	program[0] = btf.WithFuncMetadata(first, nil).WithSymbol(label)
	return append(head, program...)
}
