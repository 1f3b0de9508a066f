// SPDX-License-Identifier: Apache-2.0

package names

// What SLOs are, and what they have counted. Rules of the mixin and the Grafana plugin
// join the four by service and slo.
var (
	SLOEvents    = Metric{"slo_events_total", "counter", "Requests that an SLO counts, by whether they were good: what http_request_duration_seconds of the same scrape says, judged by status_code and, for a latency, by duration, or by the policy of client_aborts (docs/slo.md). path is \"\" while none has been seen.", []string{"service", "slo", "path", "verdict"}}
	SLOObjective = Metric{"slo_objective_ratio", "gauge", "Share of the events of an SLO that must be good, between 0 and 1.", []string{"service", "slo"}}
	SLOWindow    = Metric{"slo_window_seconds", "gauge", "How far back an SLO looks.", []string{"service", "slo"}}
	SLOLatency   = Metric{"slo_latency_threshold_seconds", "gauge", "The slowest that is good; only for SLOs about latency.", []string{"service", "slo"}}
)

// SLO lists them all, in the order of the reference.
var SLO = []Metric{SLOEvents, SLOObjective, SLOWindow, SLOLatency}
