// SPDX-License-Identifier: Apache-2.0

package observe

import (
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/slo/events"
)

// Objectives lists the objectives of all services and what they have counted up to now;
// none while requests are not observed.
func (o *Observer) Objectives() []events.Objective {
	o.gathering.Lock()
	defer o.gathering.Unlock()
	o.mu.RLock()
	defer o.mu.RUnlock()
	families, err := o.current.set.Gather()
	if err != nil {
		return nil
	}
	return o.current.objectives(families)
}

// objectives judges what has been gathered. Where requests could not be gathered there
// are none: their counters must not seem to begin anew.
func (g *generation) objectives(families []*dto.MetricFamily) []events.Objective {
	if !g.set.Gathered("http") {
		return nil
	}
	return events.Count(events.Find(families), g.began, g.registry.Config(), g.registry.HTTPServices())
}
