// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/service"
)

func TestLandingURL(t *testing.T) {
	for _, c := range []struct {
		listen string
		tls    bool
		want   string
	}{
		{"[::]:10984", false, "http://localhost:10984/"},
		{"0.0.0.0:80", false, "http://localhost:80/"},
		{"127.0.0.1:10984", true, "https://127.0.0.1:10984/"},
		{"[::1]:10984", false, "http://[::1]:10984/"},
	} {
		address, err := net.ResolveTCPAddr("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := landingURL(address, c.tls); got != c.want {
			t.Errorf("an exporter that listens on %s (tls: %v) is said to be at %s, want %s", c.listen, c.tls, got, c.want)
		}
	}
}

func printed(s summary) string {
	var out strings.Builder
	s.url, s.metrics, s.took = "http://localhost:10984/", "/metrics", 476*time.Millisecond
	s.print(&out)
	return out.String()
}

func TestSummary(t *testing.T) {
	listen := func(address string) service.Listener { return service.Listener{Listener: address} }
	t.Run("lists observed Go servers first, and why another is not one", func(t *testing.T) {
		got := printed(summary{services: []service.Service{
			{Name: "cache", PIDs: []uint32{1}, HTTP: service.State{State: "not_attached", Reason: "not a Go executable"}, Listeners: []service.Listener{listen("127.0.0.1:6379")}},
			{Name: "shop", PIDs: []uint32{2}, GoVersion: "go1.26.8", HTTP: service.State{State: "attached"}, Listeners: []service.Listener{listen("[::]:80"), listen("[::]:80")}},
		}})
		want := "  SERVICE   GO         LISTENS ON       OBSERVED\n" +
			"  shop      go1.26.8   [::]:80          requests and connections\n" +
			"  cache     -          127.0.0.1:6379   connections (not a Go executable)\n"
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant in it\n%s", got, want)
		}
	})
	t.Run("leaves out the exporter itself and says so where nothing else listens", func(t *testing.T) {
		got := printed(summary{self: 7, services: []service.Service{{Name: "tcpslo_exporter", PIDs: []uint32{7}}}})
		if strings.Contains(got, "SERVICE") || !strings.Contains(got, "No other process listens yet.") {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("cuts a long table and a long list of listeners, and says how much", func(t *testing.T) {
		var many []service.Service
		for i := range summaryRows + 4 {
			many = append(many, service.Service{Name: fmt.Sprintf("service-%d", i), PIDs: []uint32{uint32(i)}, Listeners: []service.Listener{
				listen("127.0.0.1:1"), listen("127.0.0.1:2"), listen("127.0.0.1:3"), listen("127.0.0.1:4"), listen("127.0.0.1:5")}})
		}
		got := printed(summary{self: 1000, services: many})
		if n := strings.Count(got, "service-"); n != summaryRows {
			t.Errorf("%d services are listed, want %d", n, summaryRows)
		}
		if !strings.Contains(got, "… and 4 more\n") || !strings.Contains(got, "127.0.0.1:3, … 2 more") {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("names the programs that the kernel has no place for", func(t *testing.T) {
		got := printed(summary{programs: []probe.Status{
			{Probe: "listen", Program: "syn_received"}, {Probe: "listen", Program: "conn_queued", Variant: "tp_btf/sk_data_ready"},
		}})
		if !strings.Contains(got, "Not on this kernel: listen/syn_received (why:") {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("has colours only where asked for", func(t *testing.T) {
		services := []service.Service{{Name: "shop", PIDs: []uint32{2}, HTTP: service.State{State: "attached"}}}
		if got := printed(summary{services: services}); strings.Contains(got, "\x1b") {
			t.Errorf("got %q", got)
		}
		if got := printed(summary{services: services, colour: true}); !strings.Contains(got, "\x1b[32mrequests and connections\x1b[0m") {
			t.Errorf("got %q", got)
		}
	})
}
