// SPDX-License-Identifier: Apache-2.0

package names

// TCPExtFastOpen is what the kernel counts of Fast Open whether a program can be
// attached or not.
var TCPExtFastOpen = Metric{
	"tcpext_fastopen_total", "counter",
	"TCP Fast Open requests in the exporter's own network namespace, all listeners together, as the kernel counts them in /proc/net/netstat. accepted: TCPFastOpenPassive; cookie_requested: TCPFastOpenCookieReqd; cookie_invalid: TCPFastOpenPassiveFail; queue_full: TCPFastOpenListenOverflow. fastopen_fallbacks_total tells them apart by listener where the kernel lets it.",
	[]string{"event"},
}

// TCPExt is the collector of the counters that the kernel has only for a whole
// network namespace.
var TCPExt = Collector{"tcpext", "What the kernel counts of TCP for a whole network namespace and no listener can be told for everywhere: Fast Open.", "procfs", []Metric{TCPExtFastOpen}}
