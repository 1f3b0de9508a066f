// SPDX-License-Identifier: Apache-2.0

package names

// What the audit finds.
var (
	AuditFinding   = Metric{"audit_finding", "gauge", "Findings of the audit: how many of a rule for the same service and listener, 1 as a rule. What it means and what helps stands in docs/audit.md under the rule's name.", []string{"rule", "severity", "service", "listener", "netns"}}
	AuditNotJudged = Metric{"audit_not_judged", "gauge", "For how many listeners, services, servers or devices a rule could not be judged, because something that it needs is not known; \"tcpslo_exporter audit\" tells what.", []string{"rule"}}
)

// Audit is the collector that judges how kernel parameters, listeners and
// http.Servers fit together.
var Audit = Collector{"audit", "How kernel parameters, listeners and http.Servers fit together (docs/audit.md); looks once a minute, options: rules, disable.", "procfs, netlink and the probes", []Metric{AuditFinding, AuditNotJudged}}
