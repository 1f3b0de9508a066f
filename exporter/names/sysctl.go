// SPDX-License-Identifier: Apache-2.0

package names

// SysctlValue is a kernel parameter.
var SysctlValue = Metric{"sysctl", "gauge", "Kernel parameters that decide how connections queue, wait, time out and are dropped. One with several values has their index behind its name: net.ipv4.tcp_rmem[0]. Those of the network are of the exporter's own network namespace.", []string{"name"}}

// Sysctl is the collector of kernel parameters.
var Sysctl = Collector{"sysctl", "Kernel parameters; one that this kernel or namespace does not have is absent.", "procfs", []Metric{SysctlValue}}
