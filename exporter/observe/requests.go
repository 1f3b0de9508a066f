// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/tcpslo/tcpslo/exporter/service"
	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// What the objects know by a constant with_NAME, beside the collectors.
const (
	slowRequests = "slow_requests" // single requests are told of
	slowerThan   = "slower_than"   // a service has a threshold of its own
)

// Requests are the slow requests of late, and a sample of the others.
func (o *Observer) Requests() *timeline.Store { return o.requests }

// tells is whether the kernel tells of single requests.
func (g *generation) tells() bool {
	return g.plan.limits.SlowRequests > 0 && g.set.Named("http") != nil && g.set.Named("timeline") != nil
}

// readRequests goes on to read, until the context ends, what the kernel tells of single
// requests.
func (o *Observer) readRequests(ctx context.Context, g *generation) {
	if !g.tells() {
		return
	}
	http := g.set.Named("http")
	reader := timeline.Reader{Names: g.registry, Add: func(r timeline.Request) {
		o.requests.Add(r)
		o.exemplars.Add(r)
	}}
	g.readers.Go(func() {
		if err := reader.Read(ctx, http.Map("records")); err != nil {
			o.log.Error("slow requests are not told of any more", "error", err)
		}
	})
	if g.plan.slowerThan {
		g.readers.Go(func() { o.keepThresholds(ctx, g.registry, http.Map(slowerThan)) })
	}
}

// betweenThresholds is how long a new process of a service with a threshold of its own
// has the adaptive one.
const betweenThresholds = time.Second

// keepThresholds tells the kernel which processes have a threshold of their own.
func (o *Observer) keepThresholds(ctx context.Context, registry *service.Registry, into *ebpf.Map) {
	tick := time.NewTicker(betweenThresholds)
	defer tick.Stop()
	told := map[uint32]time.Duration{}
	for {
		now := registry.SlowerThan()
		if !maps.Equal(told, now) {
			if err := tell(into, told, now); err != nil {
				o.log.Error("thresholds of slow requests can't be set", "error", err)
			}
			told = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell writes what has changed.
func tell(into *ebpf.Map, before, now map[uint32]time.Duration) error {
	var errs []error
	for _, pid := range slices.Collect(maps.Keys(before)) {
		if _, stays := now[pid]; !stays {
			if err := into.Delete(pid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				errs = append(errs, fmt.Errorf("process %d: %w", pid, err))
			}
		}
	}
	for pid, threshold := range now {
		if err := into.Put(pid, uint64(threshold)); err != nil {
			errs = append(errs, fmt.Errorf("process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
