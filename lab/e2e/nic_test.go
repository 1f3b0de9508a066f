// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the nic collector.
const (
	nicPackets = "tcpslo_nic_receive_packets_total"
	nicDropped = "tcpslo_nic_receive_dropped_total"
	nicMissed  = "tcpslo_nic_receive_missed_total"
	nicFIFO    = "tcpslo_nic_receive_fifo_errors_total"
	nicRing    = "tcpslo_nic_ring_entries"
)

// netDev is what /proc/net/dev tells of a device that was received:
// bytes, packets, errs, drop (missed packets too), fifo (net/core/net-procfs.c).
func netDev(t *testing.T, device string) (received [5]float64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != device {
			continue
		}
		for i, field := range strings.Fields(rest)[:len(received)] {
			if received[i], err = strconv.ParseFloat(field, 64); err != nil {
				t.Fatal(err)
			}
		}
		return received
	}
	t.Fatalf("/proc/net/dev has no device %q", device)
	return received
}

func TestNIC_drops_are_those_of_proc_net_dev(t *testing.T) {
	const n = 321
	ex := start(t)
	loopback := labtest.Labels{"device": "lo"}
	x0, before := ex.Scrape(), netDev(t, "lo")
	sendUnknown(t, n)
	least := netDev(t, "lo")
	x := ex.Scrape()
	most := netDev(t, "lo")
	if packets := x.Value(nicPackets, loopback); packets < least[1] || packets > most[1] {
		t.Errorf("%v packets, the kernel said %v before and %v after", packets, least[1], most[1])
	}
	if err := errors.Join(
		same("drops, as the kernel counts them", most[3]-before[3], n),
		same("dropped", x.Value(nicDropped, loopback)-x0.Value(nicDropped, loopback), n),
		same("dropped and missed", x.Value(nicDropped, loopback)+x.Value(nicMissed, loopback), most[3]),
		same("errors of the FIFO", x.Value(nicFIFO, loopback), most[4]),
		same("series of missed packets", len(x.Series(nicMissed, loopback)), 1),
		same("rings of loopback", len(x.Series(nicRing, loopback)), 0),
		same("success", x.Value("tcpslo_collector_success", labtest.Labels{"collector": "nic"}), 1),
	); err != nil {
		t.Error(err)
	}
}

// sendUnknown sends n packets over loopback that no protocol takes: of an
// EtherType that IEEE 802 leaves for experiments.
func sendUnknown(t *testing.T, n int) {
	t.Helper()
	const experimental = 0x88b5
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open packet socket: %v", err)
	}
	defer unix.Close(fd)
	to := unix.SockaddrLinklayer{Ifindex: 1, Protocol: experimental<<8&0xff00 | experimental>>8, Halen: 6}
	for range n {
		if err := unix.Sendto(fd, make([]byte, 100), 0, &to); err != nil {
			t.Fatalf("send packet: %v", err)
		}
	}
}

func TestDevices_that_come_and_go_do_not_break_a_scrape(t *testing.T) {
	ex := start(t)
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := addVeth(conn, "first"); errors.Is(err, unix.EOPNOTSUPP) {
		testenv.Skip(t, "the kernel has no veth devices: "+err.Error())
	} else if err != nil {
		t.Fatal(err)
	}
	meanwhile(t, 10, func(i int) error {
		name := fmt.Sprintf("churn%d", i)
		return errors.Join(addVeth(conn, name), deleteLink(conn, name))
	}, 20, func() error {
		x := ex.Scrape()
		return errors.Join(
			same("series of lo", len(x.Series(nicPackets, labtest.Labels{"device": "lo"})), 1),
			same("series of a device that stays", len(x.Series(nicPackets, labtest.Labels{"device": "first"})), 1),
			same("collectors of the exporter", x.Value("tcpslo_collector_success", labtest.Labels{"collector": "listen"}), 1),
		)
	})
	if err := deleteLink(conn, "first"); err != nil {
		t.Error(err)
	}
	labtest.Eventually(t, func() error {
		return same("devices of nic", len(ex.Scrape().Series(nicPackets, nil)), 1)
	})
}

// addVeth makes a pair of devices by rtnetlink(7).
func addVeth(conn *netlink.Conn, name string) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, "veth")
		return nil
	})
	return changeLink(conn, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, attributes)
}

func deleteLink(conn *netlink.Conn, name string) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	return changeLink(conn, unix.RTM_DELLINK, 0, attributes)
}

func changeLink(conn *netlink.Conn, request netlink.HeaderType, flags netlink.HeaderFlags, attributes *netlink.AttributeEncoder) error {
	data, err := attributes.Encode()
	if err != nil {
		return err
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: request, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(header, data...),
	})
	return err
}
