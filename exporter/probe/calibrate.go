// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/tcpslo/tcpslo/exporter/goexe"
)

// MeasureTrap measures what one uprobe hit costs on this machine: the time of a
// function of our own with a probe on it that does nothing, less the time
// without. The probe stands on an instruction of the kind that EntrySite
// chooses, so the result holds for those.
func (k *Kernel) MeasureTrap() (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	file, err := goexe.Open(self)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	site, err := file.EntrySite("github.com/tcpslo/tcpslo/exporter/probe.trapTarget")
	if err != nil {
		return 0, err
	}
	spec := &ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "Dual MIT/GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
	multi := k.uprobeMulti() == nil
	if multi {
		spec.AttachType = ebpf.AttachTraceUprobeMulti
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return 0, explain(err)
	}
	defer program.Close()
	without := timeTrapTarget()
	executable, err := link.OpenExecutable(self)
	if err != nil {
		return 0, err
	}
	var l link.Link
	if multi {
		l, err = executable.UprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: []uint64{site.Offset}, PID: uint32(os.Getpid())})
	} else {
		l, err = executable.Uprobe(site.Function, program, &link.UprobeOptions{Address: site.Offset, PID: os.Getpid()})
	}
	if err != nil {
		return 0, fmt.Errorf("attach to own function: %w", explain(err))
	}
	defer l.Close()
	return max(0, timeTrapTarget()-without), nil
}

// timeTrapTarget is the time of one call: the best of several rounds, because
// whatever else runs can only add.
func timeTrapTarget() time.Duration {
	const rounds, calls = 20, 500
	best := time.Hour
	for range rounds {
		began := time.Now()
		for i := range calls {
			trapTarget(i)
		}
		best = min(best, time.Since(began)/calls)
	}
	return best
}

// trapTarget has a frame, so that it begins like the functions that are probed.
//
//go:noinline
func trapTarget(i int) byte {
	var frame [64]byte
	frame[i%64] = 1
	return sink(frame[:])
}

//go:noinline
func sink(b []byte) byte { return b[0] }
