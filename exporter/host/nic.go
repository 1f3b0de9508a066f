// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/names"
)

// NICOptions are the options of the collector "nic".
type NICOptions struct {
	Common `yaml:",inline"`
	// Devices is a pattern of the names of the devices to tell of, "*" by default.
	// A host with thousands of containers has as many veth devices.
	Devices config.Glob `yaml:"devices"`
}

var nicKind = Kind{
	Collector: names.NIC,
	Options: func() Options {
		all, err := config.ParseGlob("*")
		if err != nil {
			panic(err) // a constant
		}
		return &NICOptions{Devices: all}
	},
	New: newNIC,
}

// nic asks for all devices in two questions: rtnetlink(7) answers with the
// counters of each, ethtool's netlink family with the rings of those that have
// some. So a device that comes or goes meanwhile is in an answer or is not, and
// a thousand devices cost no thousand system calls.
type nic struct {
	devices config.Glob
}

func newNIC(_ Environment, options Options) (Collector, error) {
	n := &nic{devices: options.(*NICOptions).Devices}
	if _, err := deviceCounters(); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *nic) Close() error { return nil }

// nicCounters are the counters that are told, by their place in struct
// rtnl_link_stats64.
var nicCounters = []struct {
	place  int
	metric names.Metric
}{
	{0, names.NICReceivePackets},
	{6, names.NICReceiveDropped},
	{7, names.NICTransmitDropped},
	{14, names.NICReceiveFIFOErrors},
	{15, names.NICReceiveMissed},
	{23, names.NICReceiveNoHandler}, // Linux 4.6
}

func (n *nic) Update() (*Found, error) {
	f := &Found{}
	counters, err := deviceCounters()
	for device, values := range counters {
		for _, c := range nicCounters {
			if n.devices.Match(device) && c.place < len(values) {
				f.Add(c.metric, float64(values[c.place]), device)
			}
		}
	}
	rings, ringsErr := deviceRings()
	for device, r := range rings {
		if n.devices.Match(device) {
			r.addTo(f, device)
		}
	}
	return f, errors.Join(err, ringsErr)
}

// dumpAttempts is how often a question is asked while the list of devices changes
// under the answer (NLM_F_DUMP_INTR).
const dumpAttempts = 3

// answerTimeout is long enough for any machine. The kernel's lock on its devices
// can be held by a driver that waits for its hardware; a scrape must not wait with it.
const answerTimeout = 5 * time.Second

// errDumpInterrupted says that a device may be missing.
var errDumpInterrupted = errors.New("devices came or went during each of the attempts to list them")

// dump asks until it gets an answer from one moment; failing that, it returns the
// last one and an error.
func dump(ask func() (messages []netlink.Message, err error)) ([]netlink.Message, error) {
	for attempt := 1; ; attempt++ {
		messages, err := ask()
		if err != nil {
			return nil, err
		}
		interrupted := false
		for _, m := range messages {
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
		}
		switch {
		case !interrupted:
			return messages, nil
		case attempt == dumpAttempts:
			return messages, errDumpInterrupted
		}
	}
}

// sizeofIfInfomsg is the size of struct ifinfomsg (rtnetlink(7)), which comes
// before the attributes.
const sizeofIfInfomsg = unix.SizeofIfInfomsg

// deviceCounters returns the fields of struct rtnl_link_stats64 of each device, by
// name. A name is never there twice, whatever is renamed meanwhile.
func deviceCounters() (map[string][]uint64, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline of rtnetlink: %w", err)
	}
	messages, err := dump(func() ([]netlink.Message, error) {
		return conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump},
			Data:   make([]byte, sizeofIfInfomsg),
		})
	})
	if err != nil {
		err = fmt.Errorf("ask rtnetlink for devices: %w", err)
	}
	counters := map[string][]uint64{}
	for _, m := range messages {
		device, values, parseErr := parseLink(m)
		if parseErr != nil {
			return nil, fmt.Errorf("answer of rtnetlink: %w", parseErr)
		}
		counters[device] = values
	}
	return counters, err
}

func parseLink(m netlink.Message) (device string, counters []uint64, err error) {
	if len(m.Data) < sizeofIfInfomsg {
		return "", nil, fmt.Errorf("device in %d bytes, %d are needed", len(m.Data), sizeofIfInfomsg)
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[sizeofIfInfomsg:])
	if err != nil {
		return "", nil, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			device = attributes.String()
		case unix.IFLA_STATS64:
			raw := attributes.Bytes()
			for ; len(raw) >= 8; raw = raw[8:] {
				counters = append(counters, attributes.ByteOrder.Uint64(raw))
			}
		}
	}
	return device, counters, attributes.Err()
}

// rings are the sizes of a device's rings in packets, 0 where it has no such ring.
type rings struct {
	rx, rxMax, tx, txMax uint32
}

func (r rings) addTo(f *Found, device string) {
	for _, ring := range []struct {
		name      string
		size, max uint32
	}{{"rx", r.rx, r.rxMax}, {"tx", r.tx, r.txMax}} {
		if ring.max > 0 {
			f.Add(names.NICRingEntries, float64(ring.size), device, ring.name)
			f.Add(names.NICRingEntriesMax, float64(ring.max), device, ring.name)
		}
	}
}

// deviceRings returns the rings of the devices that have some, by name. A kernel
// without the netlink interface of ethtool (CONFIG_ETHTOOL_NETLINK) tells of none.
func deviceRings() (map[string]rings, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline of generic netlink: %w", err)
	}
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("find netlink family %q: %w", unix.ETHTOOL_GENL_NAME, err)
	}
	var replies []genetlink.Message
	_, err = dump(func() (raw []netlink.Message, err error) {
		if _, err = conn.Send(ringsRequest, family.ID, netlink.Request|netlink.Dump); err == nil {
			replies, raw, err = conn.Receive()
		}
		return raw, err
	})
	if errors.Is(err, unix.EOPNOTSUPP) { // of Linux 5.10, where no device has rings
		err = nil
	} else if err != nil {
		err = fmt.Errorf("ask ethtool for rings: %w", err)
	}
	all := map[string]rings{}
	for _, m := range replies {
		device, r, parseErr := parseRings(m.Data)
		if parseErr != nil {
			return nil, fmt.Errorf("answer of ethtool: %w", parseErr)
		}
		all[device] = r
	}
	return all, err
}

// ringsRequest asks for the rings of every device
// (Documentation/networking/ethtool-netlink.rst, RINGS_GET). Its header is empty,
// but Linux 5.10 refuses a request without one.
var ringsRequest = genetlink.Message{
	Header: genetlink.Header{Command: unix.ETHTOOL_MSG_RINGS_GET, Version: unix.ETHTOOL_GENL_VERSION},
	Data:   binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, 4), unix.ETHTOOL_A_RINGS_HEADER|unix.NLA_F_NESTED),
}

func parseRings(data []byte) (device string, r rings, err error) {
	attributes, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return "", r, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.ETHTOOL_A_RINGS_HEADER:
			attributes.Nested(func(header *netlink.AttributeDecoder) error {
				for header.Next() {
					if header.Type() == unix.ETHTOOL_A_HEADER_DEV_NAME {
						device = header.String()
					}
				}
				return nil
			})
		case unix.ETHTOOL_A_RINGS_RX:
			r.rx = attributes.Uint32()
		case unix.ETHTOOL_A_RINGS_RX_MAX:
			r.rxMax = attributes.Uint32()
		case unix.ETHTOOL_A_RINGS_TX:
			r.tx = attributes.Uint32()
		case unix.ETHTOOL_A_RINGS_TX_MAX:
			r.txMax = attributes.Uint32()
		}
	}
	return device, r, attributes.Err()
}
