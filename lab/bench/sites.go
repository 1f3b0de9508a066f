// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/tcpslo/tcpslo/exporter/goexe"
)

// hitsPerRound is how many calls of the observed function are timed at once.
const hitsPerRound = 2000

// site is a place for a uprobe in this program.
type site struct {
	goexe.Site
	what  string
	costs []float64 // seconds for one hit, in each round
}

// sites measures what one hit of a uprobe costs, with a program that does
// nothing, on a function of this program. Each round times the function without
// a probe and with one at each site.
func sites(ctx context.Context, b *bench) (section, error) {
	places, err := findSites()
	if err != nil {
		return section{}, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return section{}, err
	}
	attach, closeProgram, err := emptyProbe()
	if err != nil {
		return section{}, err
	}
	defer closeProgram()
	for range b.rounds {
		if err := ctx.Err(); err != nil {
			return section{}, err
		}
		without := timeObserved()
		for i := range places {
			l, err := attach(places[i].Offset)
			if err != nil {
				return section{}, fmt.Errorf("attach to %s: %w", places[i].what, err)
			}
			with := timeObserved()
			if err := l.Close(); err != nil {
				return section{}, err
			}
			places[i].costs = append(places[i].costs, with-without)
		}
	}
	s := section{title: "What one uprobe hit costs"}
	t := table{header: []string{"the probe stands on", "instruction", "the kernel", ">lowest", ">median"}}
	for _, p := range places {
		how := "single-steps a copy"
		if p.Emulated {
			how = "emulates it"
		}
		lowest := slices.Min(p.costs)
		t.add(p.what, "`"+p.Instruction+"`", how, nanoseconds(lowest), nanoseconds(median(p.costs)))
		s.figures = append(s.figures, figure{"a uprobe hit on " + p.what, nanoseconds(lowest), ""})
	}
	s.body = t.markdown() + fmt.Sprintf("\n%d rounds of %d calls each, an empty program; the time of a call without a probe is taken off. The lowest\n"+
		"is the cost itself, for whatever else runs can only add to it.\n", b.rounds, hitsPerRound)
	return s, nil
}

const observedFunction = "main.observed"

// findSites finds the places in this program's own executable. The first
// instruction is where a probe stands that is attached by the name of a function.
func findSites() ([]site, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := goexe.Open(self)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	function, err := file.Function(observedFunction)
	if err != nil {
		return nil, err
	}
	entry, err := file.EntrySite(observedFunction)
	if err != nil {
		return nil, err
	}
	call, err := file.CallSites(observedFunction, "main.called")
	if err != nil {
		return nil, err
	}
	returns, err := file.ReturnSites(observedFunction)
	if err != nil {
		return nil, err
	}
	// A function with a frame that calls another begins with the comparison of the
	// stack pointer, which no kernel emulates; only its address is of use here.
	first := goexe.Site{
		Function: function.Name, Address: function.Address, Offset: entry.Offset - (entry.Address - function.Address),
		Instruction: "check of the stack",
	}
	return []site{
		{Site: entry, what: "the entry, as `goexe.EntrySite` chooses it"},
		{Site: call[0], what: "a call in the function"},
		{Site: first, what: "the first instruction of the function"},
		{Site: returns[0], what: "its return"},
	}, nil
}

// emptyProbe loads a program that does nothing and returns what attaches it to
// this process, as the exporter attaches its own (uprobe.multi since Linux 6.6).
func emptyProbe() (attach func(offset uint64) (link.Link, error), closeProgram func() error, err error) {
	spec := &ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "Dual MIT/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
	err = features.HaveBPFLinkUprobeMulti()
	if err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
		return nil, nil, err
	}
	multi := err == nil
	if multi {
		spec.AttachType = ebpf.AttachTraceUprobeMulti
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, nil, err
	}
	self, err := link.OpenExecutable("/proc/self/exe")
	if err != nil {
		return nil, nil, errors.Join(err, program.Close())
	}
	attach = func(offset uint64) (link.Link, error) {
		if multi {
			return self.UprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: []uint64{offset}, PID: uint32(os.Getpid())})
		}
		return self.Uprobe(observedFunction, program, &link.UprobeOptions{Address: offset, PID: os.Getpid()})
	}
	return attach, program.Close, nil
}

// timeObserved is the mean time of one call, in seconds.
func timeObserved() float64 {
	observed(0) // the first one faults the page in that the probe was written to
	began := time.Now()
	for i := range hitsPerRound {
		observed(i)
	}
	return time.Since(began).Seconds() / hitsPerRound
}

// observed has a frame, so that it begins like the functions that are probed.
//
//go:noinline
func observed(i int) byte {
	var frame [64]byte
	frame[i%64] = 1
	return called(frame[:])
}

//go:noinline
func called(b []byte) byte { return b[0] }
