// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Site is an instruction for a uprobe to stand on.
type Site struct {
	Function    string
	Address     uint64 // virtual address in the file, before the load bias
	Offset      uint64 // in the file, which is what uprobes take
	Instruction string // in Go's syntax, as "go tool objdump" shows it
	// Emulated is true if the kernel executes the instruction in software. A hit
	// on one that it single-steps costs 10 to 20 times as much in a virtual machine.
	Emulated bool
}

// maxPrologue is the longest prologue, in instructions: ten, for a frame of more
// than 64 KiB on amd64 (cmd/internal/obj/x86, stacksplit), with room to spare.
const maxPrologue = 16

// EntrySite is where a probe sees each call of the function with the arguments
// and g still in their registers: on an instruction of the prologue that the
// kernel emulates, or if there is none on the first instruction.
//
// On amd64 it is the PUSHQ BP after the check of the stack (Go 1.21 and newer),
// which runs once for each call. It may also be the conditional branch of that
// check (older releases; arm64), or the first instruction: those run a second
// time if the stack has to grow, so what the probe does must bear repetition.
func (x *Executable) EntrySite(function string) (Site, error) {
	f, instructions, err := x.disassemble(function)
	if err != nil {
		return Site{}, err
	}
	return x.site(f, entry(instructions))
}

// entry chooses the instruction for EntrySite.
func entry(instructions []instruction) instruction {
	targets := branchTargets(instructions)
	best := instructions[0]
	for i, in := range instructions[:min(len(instructions), maxPrologue)] {
		// A jump into the prologue would make the probe see what is no call. Growing
		// the stack jumps back to the first instruction, which is a call again.
		if i > 0 && targets[in.address] {
			break
		}
		if in.push {
			return in
		}
		if in.flow == flowBranch {
			if best.flow != flowBranch {
				best = in
			}
			// What follows any other condition does not run on each call.
			if i == 0 || !instructions[i-1].comparesStack {
				break
			}
		}
		if !in.prologue {
			break
		}
	}
	return best
}

// ReturnSites is every instruction by which the function returns to its caller.
// A panic that the function does not recover from passes none of them. It fails
// with ErrNoSite, wrapped, if the function never returns, or only by a jump to
// another one.
//
// They are emulated on arm64 and single-stepped on amd64.
func (x *Executable) ReturnSites(function string) ([]Site, error) {
	f, instructions, err := x.disassemble(function)
	if err != nil {
		return nil, err
	}
	var sites []Site
	for _, in := range instructions {
		if in.flow != flowReturn {
			continue
		}
		site, err := x.site(f, in)
		if err != nil {
			return nil, err
		}
		sites = append(sites, site)
	}
	if len(sites) == 0 {
		return nil, fmt.Errorf("return from %q: %w: it has no return instruction", function, ErrNoSite)
	}
	return sites, nil
}

// CallSites is each instruction in caller that directly calls callee. The
// arguments of the call are in their registers there, and such instructions are
// emulated on both architectures. It fails with ErrNoSite, wrapped, if there is
// none.
func (x *Executable) CallSites(caller, callee string) ([]Site, error) {
	f, instructions, calls, err := x.callsIn(caller, callee)
	if err != nil {
		return nil, err
	}
	var sites []Site
	for _, i := range calls {
		site, err := x.site(f, instructions[i])
		if err != nil {
			return nil, err
		}
		sites = append(sites, site)
	}
	return sites, nil
}

// CallSitesBesideInlined is the CallSites of callee in each function that holds a copy of
// inlined instead of calling it, see InlinedInto; none if nobody does. A probe on a function
// that is called right before another sees what one on that other misses. It fails with
// ErrNoSite, wrapped, if a function holds a copy and does not call callee.
func (x *Executable) CallSitesBesideInlined(inlined, callee string) ([]Site, error) {
	callers, err := x.InlinedInto(inlined)
	if err != nil {
		return nil, err
	}
	var all []Site
	for _, caller := range callers {
		sites, err := x.CallSites(caller, callee)
		if err != nil {
			return nil, fmt.Errorf("%q is inlined: %w", inlined, err)
		}
		all = append(all, sites...)
	}
	return all, nil
}

// AfterCallSites is, for each direct call of callee in caller, the first emulated
// instruction that runs after that call returns and at no other time. It is one
// hit where a probe on callee's return instruction costs two traps on amd64.
//
// It fails with ErrNoSite, wrapped, if caller has no such call, or if after one
// of them the straight line ends (a return, a jump, the target of a branch)
// before an emulated instruction.
//
// Targets of jump tables are not known; the compiler gives none of them to an
// instruction after a call, for each case of a switch ends in a jump.
func (x *Executable) AfterCallSites(caller, callee string) ([]Site, error) {
	f, instructions, calls, err := x.callsIn(caller, callee)
	if err != nil {
		return nil, err
	}
	targets := branchTargets(instructions)
	var sites []Site
	for _, i := range calls {
		after, err := firstEmulated(instructions[i+1:], targets)
		if err != nil {
			return nil, fmt.Errorf("after the call of %q at %#x in %q: %w", callee, instructions[i].address, caller, err)
		}
		site, err := x.site(f, after)
		if err != nil {
			return nil, err
		}
		sites = append(sites, site)
	}
	return sites, nil
}

// callsIn disassembles caller and gives the indexes of the direct calls of
// callee, at least one.
func (x *Executable) callsIn(caller, callee string) (Function, []instruction, []int, error) {
	target, err := x.Function(callee)
	if err != nil {
		return Function{}, nil, nil, err
	}
	f, instructions, err := x.disassemble(caller)
	if err != nil {
		return Function{}, nil, nil, err
	}
	var calls []int
	for i, in := range instructions {
		if in.flow == flowCall && in.target == target.Address {
			calls = append(calls, i)
		}
	}
	if len(calls) == 0 {
		return Function{}, nil, nil, fmt.Errorf("call of %q in %q: %w: there is no direct call; it may be inlined there", callee, caller, ErrNoSite)
	}
	return f, instructions, calls, nil
}

// firstEmulated is the first emulated instruction on the straight line that
// begins with the first of instructions.
func firstEmulated(instructions []instruction, targets map[uint64]bool) (instruction, error) {
	for _, in := range instructions {
		if targets[in.address] {
			return instruction{}, fmt.Errorf("%w: %q at %#x is the target of a branch", ErrNoSite, in.text(nil), in.address)
		}
		if in.emulated {
			return in, nil
		}
		if in.flow != flowNext && in.flow != flowCall {
			return instruction{}, fmt.Errorf("%w: the straight line ends with %q at %#x", ErrNoSite, in.text(nil), in.address)
		}
	}
	return instruction{}, fmt.Errorf("%w: the function ends", ErrNoSite)
}

// ClosureCalling finds the one closure that directly calls callee among those
// whose names are prefix followed by what the compiler makes up ("func1",
// "gowrap2", "deferwrap1"). Which number a closure gets differs between
// releases. It fails with ErrNoFunction, wrapped, if there is none or more than
// one.
func (x *Executable) ClosureCalling(prefix, callee string) (Function, error) {
	found, err := x.closuresCalling(prefix, callee)
	if err == nil && len(found) > 1 {
		err = fmt.Errorf("%w: both %q and %q do", ErrNoFunction, found[0].Name, found[1].Name)
	}
	if err != nil {
		return Function{}, fmt.Errorf("closure %q calling %q: %w", prefix+"func…", callee, err)
	}
	return found[0], nil
}

// LastClosureCalling is the last one in the source of the closures that
// ClosureCalling chooses from, those within closures left out. The compiler
// numbers closures as they stand there, each kind for itself: it fails with
// ErrNoFunction, wrapped, if there is none or if they are not of one kind.
func (x *Executable) LastClosureCalling(prefix, callee string) (Function, error) {
	fail := func(err error) (Function, error) {
		return Function{}, fmt.Errorf("last closure %q calling %q: %w", prefix+"func…", callee, err)
	}
	found, err := x.closuresCalling(prefix, callee)
	if err != nil {
		return fail(err)
	}
	var last Function
	var kind string
	highest := -1
	for _, f := range found {
		suffix := f.Name[len(prefix):]
		digits := strings.IndexAny(suffix, "0123456789")
		number, err := strconv.Atoi(suffix[digits:])
		if err != nil {
			continue // it is in another closure: func1.2
		}
		if kind != "" && suffix[:digits] != kind {
			return fail(fmt.Errorf("%w: %q and %q have no order", ErrNoFunction, last.Name, f.Name))
		}
		kind = suffix[:digits]
		if number > highest {
			last, highest = f, number
		}
	}
	if highest < 0 {
		return fail(fmt.Errorf("%w: %q is in another closure", ErrNoFunction, found[0].Name))
	}
	return last, nil
}

// closuresCalling finds the closures with the prefix that directly call callee,
// at least one.
func (x *Executable) closuresCalling(prefix, callee string) ([]Function, error) {
	target, err := x.Function(callee)
	if err != nil {
		return nil, err
	}
	var found []Function
	var names []string
	for _, name := range x.FunctionsWithPrefix(prefix) {
		if !isClosureSuffix(name[len(prefix):]) {
			continue
		}
		names = append(names, name)
		f, instructions, err := x.disassemble(name)
		if err != nil {
			return nil, err
		}
		for _, in := range instructions {
			if (in.flow == flowCall || in.flow == flowJump) && in.target == target.Address {
				found = append(found, f)
				break
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: not among %q", ErrNoFunction, names)
	}
	return found, nil
}

// isClosureSuffix is true for the last part of the name that the compiler gives
// a closure (cmd/compile/internal/ir, closureName).
func isClosureSuffix(suffix string) bool {
	for _, kind := range []string{"func", "gowrap", "deferwrap"} {
		if rest, ok := strings.CutPrefix(suffix, kind); ok && strings.Trim(rest, "0123456789.") == "" && rest != "" {
			return true
		}
	}
	return false
}

// branchTargets is the addresses that direct branches and jumps lead to.
func branchTargets(instructions []instruction) map[uint64]bool {
	targets := map[uint64]bool{}
	for _, in := range instructions {
		if (in.flow == flowBranch || in.flow == flowJump) && in.target != 0 {
			targets[in.target] = true
		}
	}
	return targets
}

// disassemble decodes a function from its first to its last instruction. It
// fails at the first one that it does not know, for what would follow could be
// misread.
func (x *Executable) disassemble(function string) (Function, []instruction, error) {
	f, err := x.Function(function)
	if err != nil {
		return Function{}, nil, err
	}
	code, err := x.code(f)
	if err != nil {
		return Function{}, nil, err
	}
	instructions := make([]instruction, 0, len(code)/4)
	for at := 0; at < len(code); {
		in, err := x.arch.decode(code[at:], f.Address+uint64(at))
		if err != nil {
			return Function{}, nil, fmt.Errorf("instruction at %#x in %q: %w", f.Address+uint64(at), function, err)
		}
		instructions = append(instructions, in)
		at += int(in.length)
	}
	if len(instructions) == 0 {
		return Function{}, nil, fmt.Errorf("function %q: %w", function, errNoCode)
	}
	return f, instructions, nil
}

var errNoCode = errors.New("has no code")

func (x *Executable) site(f Function, in instruction) (Site, error) {
	offset, err := x.image.fileOffset(in.address)
	if err != nil {
		return Site{}, fmt.Errorf("function %q: %w", f.Name, err)
	}
	return Site{
		Function:    f.Name,
		Address:     in.address,
		Offset:      offset,
		Instruction: in.text(x.symbol),
		Emulated:    in.emulated,
	}, nil
}

// symbol names the function that begins at address: call targets do.
func (x *Executable) symbol(address uint64) (string, uint64) {
	f, err := x.FunctionAt(address)
	if err != nil || f.Address != address {
		return "", 0
	}
	return f.Name, f.Address
}
