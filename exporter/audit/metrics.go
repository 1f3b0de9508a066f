// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/names"
)

// Metrics are what the probes of a running exporter know and rules are judged by.
type Metrics struct {
	servers map[httpServer]map[string]float64 // timeouts in seconds, by the field that they are
	reads   map[string]reads                  // by service
	windows map[string]windows
}

type httpServer struct{ service, address string }

type reads struct {
	count uint64
	bytes float64
}

type windows struct{ zero, collapsed float64 }

// Ring is the size of a device's receive ring in packets.
type Ring struct{ Entries, Max float64 }

// ReadMetrics takes what is of use out of an exposition. Nothing of the families
// is kept. bpf/http.yaml and bpf/window.yaml define these metrics.
func ReadMetrics(families []*dto.MetricFamily) *Metrics {
	m := &Metrics{servers: map[httpServer]map[string]float64{}, reads: map[string]reads{}, windows: map[string]windows{}}
	for _, family := range families {
		add := m.reader(strings.TrimPrefix(family.GetName(), names.Namespace+"_"))
		for i := 0; add != nil && i < len(family.Metric); i++ {
			add(family.Metric[i])
		}
	}
	return m
}

// reader is what takes in the series of a metric, nil for one of no use.
func (m *Metrics) reader(name string) func(*dto.Metric) {
	switch name {
	case "http_server_timeout_seconds":
		return func(one *dto.Metric) {
			s := httpServer{label(one, "service"), label(one, "server")}
			if m.servers[s] == nil {
				m.servers[s] = map[string]float64{}
			}
			m.servers[s][label(one, "timeout")+"_timeout"] = one.GetGauge().GetValue()
		}
	case "read_size_bytes":
		return func(one *dto.Metric) {
			r := m.reads[label(one, "service")]
			r.count += one.GetHistogram().GetSampleCount()
			r.bytes += one.GetHistogram().GetSampleSum()
			m.reads[label(one, "service")] = r
		}
	case "zero_window_total", "receive_window_collapses_total":
		return func(one *dto.Metric) {
			w := m.windows[label(one, "service")]
			if n := one.GetCounter().GetValue(); name == "zero_window_total" {
				w.zero += n
			} else {
				w.collapsed += n
			}
			m.windows[label(one, "service")] = w
		}
	}
	return nil
}

func label(m *dto.Metric, name string) string {
	for _, pair := range m.Label {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// readServers lists the live http.Servers. A server is known from its first
// request on, so that none is no proof that there is none.
func (f *Facts) readServers(s Source) {
	if s.Metrics == nil || len(s.Metrics.servers) == 0 {
		f.Unseen[Server] = s.NoMetrics
		if s.Metrics != nil {
			f.Unseen[Server] = "the exporter has seen no request to a Go HTTP server yet"
		}
		return
	}
	for _, server := range slices.SortedFunc(maps.Keys(s.Metrics.servers), func(a, b httpServer) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.address, b.address))
	}) {
		values := allUnknown(Server, "the exporter does not tell it")
		values["service"], values["address"] = TextOf(server.service), TextOf(server.address)
		for name, seconds := range s.Metrics.servers[server] {
			values[name] = NumberOf(seconds)
		}
		f.Subjects[Server] = append(f.Subjects[Server], Subject{Name: printable(server.service + " " + server.address), Service: server.service, Fields: values})
	}
}

// readWindow fills in how a service reads and what its receive windows did.
func (s Source) readWindow(service string, values map[string]Value) {
	reason := s.NoMetrics
	if s.Metrics != nil {
		if r := s.Metrics.reads[service]; r.count > 0 {
			// The probe that sees reads sees windows, too: no series is none so far.
			w := s.Metrics.windows[service]
			values["read_size"], values["zero_windows"], values["window_collapses"] = NumberOf(r.bytes/float64(r.count)), NumberOf(w.zero), NumberOf(w.collapsed)
			return
		}
		reason = "the exporter has seen no read of this service yet"
	}
	for _, name := range []string{"read_size", "zero_windows", "window_collapses"} {
		values[name] = Unknown(reason)
	}
}

// readDevices lists the network interfaces that belong to a device
// (class/net/NAME/device is there): others, such as one end of each container's
// veth pair, have no rings.
func (f *Facts) readDevices(s Source) {
	folder := filepath.Join(s.Sysfs, "class/net")
	entries, err := os.ReadDir(folder)
	if err != nil {
		f.Unseen[Device] = err.Error()
		return
	}
	rings, err := s.Rings()
	for _, entry := range entries {
		name := entry.Name()
		if _, err := os.Stat(filepath.Join(folder, name, "device")); err != nil {
			continue
		}
		fields := map[string]Value{"name": TextOf(name)}
		gone := false
		for field, file := range map[string]string{"rx_dropped": "rx_dropped", "rx_missed": "rx_missed_errors", "rx_fifo": "rx_fifo_errors"} {
			n, err := readNumber(filepath.Join(folder, name, "statistics", file))
			gone = gone || errors.Is(err, fs.ErrNotExist)
			fields[field] = numberOr(n, err)
		}
		ring, ok := rings[name]
		ringErr := err
		if !ok && err == nil {
			ringErr = fmt.Errorf("the driver of %s tells no ring sizes", name)
		}
		fields["ring_rx"], fields["ring_rx_max"] = numberOr(ring.Entries, ringErr), numberOr(ring.Max, ringErr)
		if !gone { // between the listing and now
			f.Subjects[Device] = append(f.Subjects[Device], Subject{Name: name, Fields: fields})
		}
	}
}

func readNumber(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return float64(n), err
}
