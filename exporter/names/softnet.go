// SPDX-License-Identifier: Apache-2.0

package names

// What the kernel says of the receive path of each CPU.
var (
	SoftnetProcessed   = Metric{"softnet_processed_total", "counter", "Packets that a CPU took from its backlog and from its devices.", []string{"cpu"}}
	SoftnetDropped     = Metric{"softnet_dropped_total", "counter", "Packets dropped because the backlog of a CPU was longer than net.core.netdev_max_backlog.", []string{"cpu"}}
	SoftnetTimeSqueeze = Metric{"softnet_time_squeeze_total", "counter", "Runs of the NET_RX softirq that ended with work left, because net.core.netdev_budget packets or netdev_budget_usecs were used up.", []string{"cpu"}}
	SoftnetReceivedRPS = Metric{"softnet_received_rps_total", "counter", "Times that a CPU was woken up by another one to take packets (RPS).", []string{"cpu"}}
	SoftnetFlowLimit   = Metric{"softnet_flow_limit_total", "counter", "Packets of a dominant flow dropped before the backlog of a CPU was full (net.core.flow_limit_cpu_bitmap); they are in softnet_dropped_total too.", []string{"cpu"}}
	SoftnetBacklog     = Metric{"softnet_backlog_packets", "gauge", "Packets in the backlog of a CPU now. Needs Linux 5.10.", []string{"cpu"}}
)

// Softnet is the collector of them.
var Softnet = Collector{
	"softnet", "What each CPU received, dropped and had to leave for later.", "procfs",
	[]Metric{SoftnetProcessed, SoftnetDropped, SoftnetTimeSqueeze, SoftnetReceivedRPS, SoftnetFlowLimit, SoftnetBacklog},
}
