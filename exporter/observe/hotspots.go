// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"

	"github.com/tcpslo/tcpslo/exporter/hotspot"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

// hotspots is the collector of where slow requests burn CPU.
const hotspots = "hotspots"

// Hotspots are the stacks of the last hour in which slow requests were met on a CPU; nil
// where the collector is off.
func (o *Observer) Hotspots() *hotspot.Store {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.current.hotspots == nil {
		return nil
	}
	return o.hotspots
}

// readHotspots goes on to read, until the context ends, the stacks that the kernel samples.
func (o *Observer) readHotspots(ctx context.Context, g *generation) error {
	p := g.set.Named(hotspots)
	if p == nil {
		return nil
	}
	stacks, err := p.Swap("hotspot_stacks")
	if err != nil {
		return fmt.Errorf("probe %q: %w", hotspots, err)
	}
	g.hotspots = &hotspot.Reader{
		Names: g.registry, Store: o.hotspots, Procfs: o.options.Paths.Procfs,
		Period: probe.SamplePeriod(p.Definition.Values["frequency"]),
	}
	g.readers.Go(func() {
		if err := g.hotspots.Read(ctx, stacks); err != nil {
			o.log.Error("hotspots are not told of any more", "error", err)
		}
	})
	return nil
}
