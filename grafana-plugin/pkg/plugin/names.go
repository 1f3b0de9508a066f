// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"time"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/slo"
)

// What the mixin's rules record, and the alert that tells of a burning budget.
const (
	objectiveRatio   = names.RecordedObjective
	windowSeconds    = names.RecordedWindow
	errorRatio       = names.RecordedWindowErrorRatio
	budgetRemaining  = names.RecordedBudgetRemaining
	budgetExhaustion = names.RecordedBudgetExhaustion
	burnThreshold    = names.RecordedBurnThreshold
	badEventsByPath  = names.RecordedPathBadIncrease
	burnAlert        = "TcpsloErrorBudgetBurn"
)

// burnRate names the burn rate that is recorded for a window.
func burnRate(window time.Duration) string { return names.RecordedBurnRate + duration(window) }

// burnRates names all of them, those of each tier's long and short window.
func burnRates() (all []string) {
	known := map[string]bool{}
	for _, tier := range slo.Tiers() {
		for _, window := range []time.Duration{tier.Short, tier.Long} {
			if name := burnRate(window); !known[name] {
				known[name] = true
				all = append(all, name)
			}
		}
	}
	return all
}

// What the exporter tells.
var sloEvents = names.SLOEvents.Full()

const (
	requestDuration = "tcpslo_http_request_duration_seconds"
	requestStage    = "tcpslo_http_request_stage_seconds"
	accepted        = "tcpslo_accepted_connections_total"
	queued          = "tcpslo_listen_queued_connections_total"
	queueDepth      = "tcpslo_listen_accept_queue_connections"
	queueLimit      = "tcpslo_listen_accept_queue_limit"
	listenDrops     = "tcpslo_listen_drops_total"
	buildInfo       = "tcpslo_exporter_build_info"
)

// stages are the stages of a request in the order of time, as bpf/timeline.yaml names them.
var stages = []string{"handshake", "accept_queue", "read_wait", "parse", "handler", "first_packet", "ack"}

// duration writes a duration as PromQL does.
func duration(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d >= unit.size && d%unit.size == 0 {
			return fmt.Sprintf("%d%s", d/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}
