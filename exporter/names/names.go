// SPDX-License-Identifier: Apache-2.0

// Package names owns the names that other parts rely on and that do not stand
// in a probe's YAML file: what the exporter says of itself. The metric
// reference in the README is generated from here and from those files.
package names

import "github.com/prometheus/client_golang/prometheus"

// Namespace begins the name of every metric.
const Namespace = "tcpslo"

// Metric is a metric that the exporter makes without a map.
type Metric struct {
	Name   string // without the namespace
	Type   string
	Help   string
	Labels []string
}

// Full is the name with the namespace.
func (m Metric) Full() string { return Namespace + "_" + m.Name }

// Desc is the descriptor for client_golang.
func (m Metric) Desc() *prometheus.Desc {
	return prometheus.NewDesc(m.Full(), m.Help, m.Labels, nil)
}

// Collector is a collector that needs no BPF program, with its metrics.
type Collector struct {
	Name    string // under "collectors" in tcpslo.yml
	Help    string
	Source  string // where it reads: "procfs", "netlink"
	Metrics []Metric
}

// Host lists the collectors of package host, in the order of the reference.
var Host = []Collector{
	Sockets,
	Softnet,
	TCPExt,
	NIC,
	Sysctl,
	GoRuntime,
	Audit,
}

// What the exporter says of itself.
var (
	ProbeInfo   = Metric{"probe_info", "gauge", "The variant that a program got on this kernel.", []string{"probe", "program", "variant"}}
	ProbeHits   = Metric{"probe_hits_total", "counter", "Runs of a program.", []string{"probe", "program"}}
	ProbeMisses = Metric{"probe_misses_total", "counter", "Runs that the kernel skipped because the program was running on that CPU already.", []string{"probe", "program"}}
	ProbeRun    = Metric{"probe_run_seconds_total", "counter", "Time spent in a program, without the trap that leads to it. An estimate: one run in 64 on each CPU is timed and stands for all, so a program that has run a few times only may have 0.", []string{"probe", "program"}}
	Lost        = Metric{"lost_total", "counter", "Events that could not be counted where they belong, by reason. Anything but 0 means that numbers of this probe are too low.", []string{"probe", "reason"}}
	MapEntries  = Metric{"map_entries", "gauge", "Entries of a BPF map when it was last read.", []string{"probe", "map"}}
	MapCapacity = Metric{"map_capacity", "gauge", "Entries that a BPF map has room for.", []string{"probe", "map"}}

	CollectorDuration = Metric{"collector_duration_seconds", "gauge", "Time that a collector took in this scrape.", []string{"collector"}}
	CollectorSuccess  = Metric{"collector_success", "gauge", "Whether a collector succeeded in this scrape.", []string{"collector"}}

	ConfigReloadSuccess = Metric{"config_last_reload_successful", "gauge", "Whether the last attempt to load the configuration succeeded.", nil}
	ConfigReloadTime    = Metric{"config_last_reload_success_timestamp_seconds", "gauge", "When the configuration in force was loaded, in seconds since 1970.", nil}
	UprobeTrap          = Metric{"uprobe_trap_seconds", "gauge", "What one uprobe trap costs on this machine without any program, measured at start.", nil}
)

// Self lists them all, in the order of the reference.
var Self = []Metric{ProbeInfo, ProbeHits, ProbeMisses, ProbeRun, Lost, MapEntries, MapCapacity, CollectorDuration, CollectorSuccess, ConfigReloadSuccess, ConfigReloadTime, UprobeTrap}
