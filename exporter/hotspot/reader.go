// SPDX-License-Identifier: Apache-2.0

package hotspot

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tcpslo/tcpslo/exporter/metric"
)

// Names tells what the numbers in a sample mean; metric.Resolver has them all.
type Names interface {
	ServiceOfProcess(tgid, executable uint32) string
	ProcessAlive(tgid, executable uint32) bool
	Route(service, method, path string, source metric.RouteSource) string
}

// Reader turns what the kernel has sampled into hotspots.
type Reader struct {
	Names  Names
	Store  *Store
	Procfs string        // as a rule "/proc"
	Period time.Duration // between two samples of a CPU

	gone atomic.Uint64
}

// between is how long the reader sleeps. A process that ends takes the names of its
// functions with it, unless they were asked for before.
const between = time.Second

// Read empties the stacks until the context ends.
func (r *Reader) Read(ctx context.Context, stacks *metric.Swap) error {
	tick := time.NewTicker(between)
	defer tick.Stop()
	symbols := newSymbols(r.Procfs)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			err := stacks.Drain(func(key, value []byte) error { return r.add(symbols, key, value) })
			symbols.close()
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("read sampled stacks: %w", err)
			}
		}
	}
}

func (r *Reader) add(symbols *symbols, key, value []byte) error {
	k, raw, err := decode(key, value)
	if err != nil || raw.Count == 0 {
		return err
	}
	if !r.Names.ProcessAlive(k.PID, k.Executable) {
		r.gone.Add(raw.Count)
		return nil
	}
	frames, err := symbols.stack(k.PID, &raw)
	if err != nil { // it has just ended
		r.gone.Add(raw.Count)
		return nil
	}
	service := r.Names.ServiceOfProcess(k.PID, k.Executable)
	r.Store.Add(Hotspot{
		Service: service,
		Path:    r.Names.Route(service, metric.HTTPMethod(uint64(k.Method)), k.path(), metric.RouteSource(k.PathSource)),
		Samples: raw.Count, CPU: time.Duration(raw.Count) * r.Period, Frames: frames,
	})
	return nil
}

// Lost counts the samples of processes that had ended before their stacks were read.
func (r *Reader) Lost() uint64 { return r.gone.Load() }
