// SPDX-License-Identifier: Apache-2.0

// Package goroutine reads the goroutines of a running Go process through its
// memory, from outside: no probe, no stop, no change to the process.
//
// The runtime keeps every goroutine that there ever was in runtime.allgs
// (runtime/proc.go), a slice that only grows and whose elements it uses again.
// Where that is, tells the code of the function that appends to it; where the
// fields of a runtime.g are, tells the type data (package goexe). So stripped and
// position-independent executables of Go 1.18 to 1.27 serve as well as any.
//
// The process goes on meanwhile: each goroutine is read in one piece, all of them
// are not. One that begins or ends during the reading may be seen or not.
//
// Reading takes what a debugger needs: the same user, or CAP_SYS_PTRACE, and
// kernel.yama.ptrace_scope below 3 (process_vm_readv(2)).
package goroutine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Goroutine is what the runtime notes of a goroutine (runtime.g).
type Goroutine struct {
	Address uint64 // of its runtime.g; another goroutine has it after this one
	ID      uint64 // as in a traceback
	// Parent is the ID of the goroutine that created it; 0 before Go 1.21.
	Parent uint64
	// Status is "runnable", "running", "syscall", "waiting", "copystack",
	// "preempted" or, as Go 1.26 and newer find in a leak profile, "leaked".
	Status string
	// WaitReason is why it waits, as in a traceback: "IO wait", "chan receive",
	// "select", …; "" unless it waits.
	WaitReason string
	// CreatedBy is the function with its go statement and StartedWith the one that
	// it began with, often a wrapper of the compiler's (Serve.gowrap3). As in a
	// traceback, an inlined function is told by the name of the one that it is part
	// of, and type arguments are "[...]". Both are "runtime.main" of the first one,
	// which runs main, and "" if a thread of C brought it.
	CreatedBy, StartedWith string
	// CreatedAt is the file and the line of the go statement, "path/leaks.go:31"; "" of
	// the first one and of those that a thread of C brought.
	CreatedAt string
}

// IsSystem tells a goroutine of the runtime itself, which runtime.NumGoroutine
// does not count (runtime/traceback.go, isSystemGoroutine). One that runs
// finalizers or cleanups counts as such even while it is in one.
func (g Goroutine) IsSystem() bool {
	switch g.StartedWith {
	case "runtime.main", "runtime.corostart", "runtime.handleAsyncEvent":
		return false
	}
	return strings.HasPrefix(g.StartedWith, "runtime.")
}

// statuses are the names of the states in which there is a goroutine
// (runtime/runtime2.go, Go 1.18 to 1.27).
var statuses = map[uint32]string{1: "runnable", 2: "running", 3: "syscall", 4: waiting, 8: "copystack", 9: "preempted", 10: "leaked"}

const (
	waiting = "waiting"
	dead    = 6       // to be used again
	scan    = 1 << 12 // the garbage collector looks at its stack
)

// most is how many elements of runtime.allgs are read of a process: as many as have
// run at once.
const most = 1 << 20

// ErrTooMany says that a process has had more than a million goroutines at once:
// some were not read.
var ErrTooMany = errors.New("more goroutines than are read")

// Each calls visit with each goroutine of the process, those of the runtime itself
// too, oldest place first. The error is wrapped: goexe.ErrNotGo if it does not
// execute Go, os.ErrPermission if it may not be read, os.ErrNotExist or
// unix.ESRCH if it has ended, ErrTooMany.
func (r *Reader) Each(pid uint32, visit func(Goroutine)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.each(pid, visit)
	if err != nil {
		return fmt.Errorf("goroutines of process %d: %w", pid, err)
	}
	return nil
}

func (r *Reader) each(pid uint32, visit func(Goroutine)) error {
	p, err := r.process(pid)
	if err != nil {
		return err
	}
	defer p.executable.close()
	array, n, err := p.allgs(p.array)
	if err != nil {
		return err
	}
	for at := uint64(0); at < min(n, most); {
		count := min(n-at, batch)
		// Reading the head of the slice again tells whether it has moved: what it
		// has left may be anything else by now. The elements keep their places.
		head, list := r.buffer[:sliceSize], r.buffer[sliceSize:sliceSize+count*word]
		if err := p.memory.read(r.buffer[:sliceSize+count*word], []span{{p.array, sliceSize}, {array + at*word, count * word}}); err != nil {
			return err
		}
		if now := binary.LittleEndian.Uint64(head); now != array {
			array = now
			continue
		}
		r.addresses = r.addresses[:0]
		for ; len(list) > 0; list = list[word:] {
			r.addresses = append(r.addresses, binary.LittleEndian.Uint64(list))
		}
		if err := p.goroutines(r.addresses, r.buffer, visit); err != nil {
			return err
		}
		at += count
	}
	if n > most {
		return fmt.Errorf("%w: %d of %d", ErrTooMany, most, n)
	}
	return nil
}

// At reads the goroutines whose runtime.g are at the addresses, such as those that a probe
// has seen, by address. Where there is none it is left out. It fails as Each does.
func (r *Reader) At(pid uint32, addresses []uint64) (map[uint64]Goroutine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := r.process(pid)
	if err != nil {
		return nil, fmt.Errorf("goroutines of process %d: %w", pid, err)
	}
	defer p.executable.close()
	found := map[uint64]Goroutine{}
	for some := range slices.Chunk(addresses, batch) {
		if err := p.goroutines(some, r.buffer, func(g Goroutine) { found[g.Address] = g }); err != nil {
			return nil, fmt.Errorf("goroutines of process %d: %w", pid, err)
		}
	}
	return found, nil
}

// goroutines reads up to batch goroutines.
func (p *process) goroutines(addresses []uint64, buffer []byte, visit func(Goroutine)) error {
	f := &p.executable.fields
	return p.memory.readEach(addresses, f.first, f.size, buffer, func(address uint64, g []byte) {
		if one, ok := p.decode(g); ok {
			one.Address = address
			visit(one)
		}
	})
}

// decode reads the fields of a runtime.g. Ok is false if that is of no goroutine
// now, or not of a runtime.g at all.
func (p *process) decode(g []byte) (one Goroutine, ok bool) {
	f := &p.executable.fields
	number := func(offset uint64) uint64 { return binary.LittleEndian.Uint64(g[offset:]) }
	one.ID = number(f.goid)
	one.Status, ok = statuses[binary.LittleEndian.Uint32(g[f.atomicstatus:])&^scan]
	if !ok || one.ID == 0 || one.ID >= 1<<48 {
		return one, false
	}
	one.StartedWith = p.function(number(f.startpc))
	// The program counter is where newproc returns to, which may be the end of the
	// function.
	if one.ID == 1 {
		one.CreatedBy = one.StartedWith
	} else {
		one.CreatedBy, one.CreatedAt = p.function(number(f.gopc)-1), p.executable.line(number(f.gopc)-1-p.bias)
	}
	if f.hasParent {
		one.Parent = number(f.parentGoid)
	}
	if reason := int(g[f.waitreason]); one.Status == waiting && reason < len(p.waitReasons) {
		one.WaitReason = p.waitReasons[reason]
	}
	return one, true
}
