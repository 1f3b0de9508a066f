// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/config"
)

// seriesOf returns the values of the series that begin with a text, by what follows.
func seriesOf(exposition, prefix string) map[string]float64 {
	values := map[string]float64{}
	for line := range strings.Lines(exposition) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			labels, value, _ := strings.Cut(strings.TrimSpace(rest), " ")
			values[labels], _ = strconv.ParseFloat(value, 64)
		}
	}
	return values
}

// sysfsCounters reads what sysfs says of every device.
func sysfsCounters(t *testing.T, file string) map[string]float64 {
	t.Helper()
	paths, err := filepath.Glob("/sys/class/net/*/statistics/" + file)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no device in sysfs (%v)", err)
	}
	counters := map[string]float64{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			t.Fatal(err)
		}
		device := filepath.Base(filepath.Dir(filepath.Dir(path)))
		counters[fmt.Sprintf("{device=%q}", device)] = value
	}
	return counters
}

func TestNIC_counters_are_those_of_sysfs(t *testing.T) {
	only(t, nicKind)
	s := set(t, "")
	for metric, file := range map[string]string{
		"nic_receive_packets_total":     "rx_packets",
		"nic_receive_dropped_total":     "rx_dropped",
		"nic_receive_missed_total":      "rx_missed_errors",
		"nic_receive_fifo_errors_total": "rx_fifo_errors",
		"nic_receive_nohandler_total":   "rx_nohandler",
		"nic_transmit_dropped_total":    "tx_dropped",
	} {
		before := sysfsCounters(t, file)
		got := seriesOf(scrape(t, s), "tcpslo_"+metric)
		after := sysfsCounters(t, file)
		for device := range before {
			if got[device] < before[device] || got[device] > after[device] {
				t.Errorf("%s%s is %v, sysfs had %v before and %v after", metric, device, got[device], before[device], after[device])
			}
		}
		if len(got) != len(before) {
			t.Errorf("%s has %d devices, sysfs has %d", metric, len(got), len(before))
		}
	}
}

// ringparam asks for the rings of a device by ioctl, which ethtool did before it
// spoke netlink (struct ethtool_ringparam, include/uapi/linux/ethtool.h).
func ringparam(t *testing.T, device string) (r rings, ok bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	param := [9]uint32{unix.ETHTOOL_GRINGPARAM}
	err = ethtoolIoctl(fd, device, &param)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return rings{}, false
	} else if err != nil {
		t.Fatalf("ioctl ETHTOOL_GRINGPARAM of %q: %v", device, err)
	}
	return rings{rxMax: param[1], txMax: param[4], rx: param[5], tx: param[8]}, true
}

func TestNIC_rings_are_those_that_the_ioctl_of_ethtool_tells(t *testing.T) {
	only(t, nicKind)
	exposition := scrape(t, set(t, ""))
	sizes, most := seriesOf(exposition, "tcpslo_nic_ring_entries{"), seriesOf(exposition, "tcpslo_nic_ring_entries_max{")
	want := map[string]uint32{}
	wantMost := map[string]uint32{}
	for device := range sysfsCounters(t, "rx_packets") {
		name := strings.Trim(strings.TrimPrefix(device, "{device="), `"}`)
		r, ok := ringparam(t, name)
		for ring, size := range map[string][2]uint32{"rx": {r.rx, r.rxMax}, "tx": {r.tx, r.txMax}} {
			if key := fmt.Sprintf("device=%q,ring=%q}", name, ring); ok && size[1] > 0 {
				want[key], wantMost[key] = size[0], size[1]
			}
		}
	}
	if len(want) == 0 {
		t.Log("no device here has rings")
	}
	for _, test := range []struct {
		what string
		got  map[string]float64
		want map[string]uint32
	}{{"size", sizes, want}, {"largest size", most, wantMost}} {
		if len(test.got) != len(test.want) {
			t.Errorf("%d rings have a %s, want %d", len(test.got), test.what, len(test.want))
		}
		for ring, size := range test.want {
			if test.got[ring] != float64(size) {
				t.Errorf("%s of {%s is %v, want %d", test.what, ring, test.got[ring], size)
			}
		}
	}
}

func TestNIC_tells_only_of_the_devices_that_are_asked_for(t *testing.T) {
	only(t, nicKind)
	got := seriesOf(scrape(t, set(t, `collectors: {nic: {devices: "l?"}}`)), "tcpslo_nic_receive_packets_total")
	if _, ok := got[`{device="lo"}`]; !ok || len(got) != 1 {
		t.Errorf("the devices are %v, want lo alone", got)
	}
}

// Probes are loaded anew, and counts begin at 0, when a reload finds another plan.
func TestNIC_options_that_say_the_same_are_the_same(t *testing.T) {
	only(t, nicKind)
	read := func(yaml string) Plan {
		c, err := config.Parse("tcpslo.yml", []byte(yaml), Names())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := NewPlan(c)
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	const eth = `collectors: {nic: {devices: "eth*"}}`
	if !reflect.DeepEqual(read(eth), read(eth)) || !reflect.DeepEqual(read(""), read(`collectors: {nic: {devices: "*"}}`)) {
		t.Error("two plans that say the same differ")
	}
	if reflect.DeepEqual(read(eth), read("")) {
		t.Error("two plans that say different things do not differ")
	}
}

// A kernel that adds or drops a device while it lists them says so in a flag.
func TestNIC_asks_again_when_devices_come_or_go_while_they_are_listed(t *testing.T) {
	message := func(device string, flags netlink.HeaderFlags) netlink.Message {
		return netlink.Message{Header: netlink.Header{Flags: flags}, Data: []byte(device)}
	}
	for name, test := range map[string]struct {
		interrupted int // answers that are
		asked       int
		err         error
	}{
		"an answer from one moment is taken":                   {0, 1, nil},
		"one that was interrupted is asked for again":          {1, 2, nil},
		"an answer that may lack a device is better than none": {99, dumpAttempts, errDumpInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			messages, err := dump(func() ([]netlink.Message, error) {
				asked++
				if asked <= test.interrupted {
					return []netlink.Message{message("old", netlink.Multi), message("gone", netlink.Multi|netlink.DumpInterrupted)}, nil
				}
				return []netlink.Message{message("new", netlink.Multi)}, nil
			})
			if asked != test.asked || !errors.Is(err, test.err) || len(messages) == 0 {
				t.Errorf("asked %d times, got %d messages and %v", asked, len(messages), err)
			}
		})
	}
}

func TestNIC_answers_that_are_cut_short_are_refused(t *testing.T) {
	for _, data := range [][]byte{nil, make([]byte, sizeofIfInfomsg-1), append(make([]byte, sizeofIfInfomsg), 1, 0, 3, 0)} {
		if _, _, err := parseLink(netlink.Message{Data: data}); err == nil {
			t.Errorf("%d bytes pass for a device", len(data))
		}
	}
	if _, _, err := parseRings([]byte{1, 0, 6, 0}); err == nil {
		t.Error("an attribute that is shorter than its own header passes")
	}
}
