// SPDX-License-Identifier: Apache-2.0

package names

// What network devices say of themselves. The counters are the driver's own (struct
// rtnl_link_stats64, include/uapi/linux/if_link.h): what exactly counts as missed
// and as an error of the FIFO differs from driver to driver.
var (
	NICRingEntries    = Metric{"nic_ring_entries", "gauge", "Packets that a ring between a device and its driver has room for. Absent for devices without rings.", []string{"device", "ring"}}
	NICRingEntriesMax = Metric{"nic_ring_entries_max", "gauge", "Largest size that the driver allows for a ring: ethtool -G sets nic_ring_entries up to this.", []string{"device", "ring"}}

	NICReceivePackets    = Metric{"nic_receive_packets_total", "counter", "Packets that a device received without an error (rx_packets).", []string{"device"}}
	NICReceiveDropped    = Metric{"nic_receive_dropped_total", "counter", "Packets received and then dropped, for want of memory or because nothing takes them (rx_dropped).", []string{"device"}}
	NICReceiveMissed     = Metric{"nic_receive_missed_total", "counter", "Packets that the device dropped because the host took them too slowly: the ring was full (rx_missed_errors).", []string{"device"}}
	NICReceiveFIFOErrors = Metric{"nic_receive_fifo_errors_total", "counter", "Overflows of the receive FIFO of a device (rx_fifo_errors).", []string{"device"}}
	NICReceiveNoHandler  = Metric{"nic_receive_nohandler_total", "counter", "Packets dropped because they came in on an inactive device, such as the standby of a bond (rx_nohandler).", []string{"device"}}
	NICTransmitDropped   = Metric{"nic_transmit_dropped_total", "counter", "Packets dropped on their way to a device (tx_dropped).", []string{"device"}}
)

// NIC is the collector of them.
var NIC = Collector{
	"nic", "Rings and drops of the network devices in the exporter's own network namespace.", "netlink",
	[]Metric{NICRingEntries, NICRingEntriesMax, NICReceivePackets, NICReceiveDropped, NICReceiveMissed, NICReceiveFIFOErrors, NICReceiveNoHandler, NICTransmitDropped},
}
