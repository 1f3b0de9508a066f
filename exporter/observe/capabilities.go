// SPDX-License-Identifier: Apache-2.0

package observe

import "github.com/tcpslo/tcpslo/exporter/probe"

// Capabilities lists what observing goes on to need, beside what package privilege
// keeps anyway, on this kernel and with the configuration that it started with.
func (o *Observer) Capabilities() []int {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return append(probe.CapabilitiesToAttach(o.current.set.Status()), o.current.plan.host.Capabilities()...)
}
