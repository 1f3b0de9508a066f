// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time           { return c.at }
func (c *clock) advance(by time.Duration) { c.at = c.at.Add(by) }

// registry makes a registry with a configuration and a clock of the test.
func registry(t *testing.T, text string) (*Registry, *Discovery, *clock) {
	t.Helper()
	c, err := config.Parse("tcpslo.yml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	time := &clock{at: time.Unix(1_000_000, 0)}
	r.now = time.now
	return r, NewDiscovery(r, nil), time
}

// runs lets a process of an executable appear.
func runs(r *Registry, tgid uint32, x *executable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &process{tgid: tgid, executable: x, facts: config.Process{Executable: x.path, Ports: r.portsOf(tgid)}}
	x.processes[tgid], r.processes[tgid] = p, p
	r.join(p)
}

func newExecutable(number uint32, path string) *executable {
	return &executable{number: number, path: path, processes: map[uint32]*process{}}
}

var address = metric.Listener{Address: netip.MustParseAddrPort("127.0.0.1:8080"), Netns: 7}

func TestRegistry_names_a_listener_after_the_process_that_listens(t *testing.T) {
	r, d, _ := registry(t, "services: [{name: checkout, match: {ports: [8080]}}]")
	runs(r, 1<<30, newExecutable(1, "/bin/shop"))
	if got := r.ServiceOfProcess(1<<30, 1); got != "shop" {
		t.Errorf("before it listens the process is %q, want shop", got)
	}
	generation := r.Generation()
	d.listens(1<<30, 55, address)
	if r.Generation() == generation {
		t.Error("labels that are kept are not renewed")
	}
	if got := r.ServiceOfListener(address); got != "checkout" {
		t.Errorf("the listener is of %q, want checkout", got)
	}
	if got := r.ServiceOfProcess(1<<30, 1); got != "checkout" {
		t.Errorf("the process is %q once it listens on port 8080, want checkout", got)
	}
}

func TestRegistry_keeps_what_has_gone_until_a_scrape_has_seen_it(t *testing.T) {
	const retention = 30 * time.Second
	r, d, now := registry(t, "limits: {series_retention: 30s}")
	x := newExecutable(1, "/bin/shop")
	runs(r, 1<<30, x)
	d.listens(1<<30, 55, address)
	r.Served()
	now.advance(time.Hour)
	if !r.ListenerAlive(address) || !r.ServiceAlive("shop") {
		t.Fatal("what is there has gone")
	}
	d.closes(55)
	r.mu.Lock()
	r.leave(x.processes[1<<30])
	r.mu.Unlock()
	now.advance(retention + time.Second)
	if !r.ListenerAlive(address) || !r.ServiceAlive("shop") {
		t.Error("gone before any scrape")
	}
	if got := r.ServiceOfProcess(1<<30, 1); got != "shop" {
		t.Errorf("the process that has ended was %q, want shop", got)
	}
	r.Served()
	if r.ListenerAlive(address) || r.ServiceAlive("shop") {
		t.Error("still there after a scrape and the retention")
	}
}

func TestRegistry_lets_a_listener_that_is_opened_again_continue(t *testing.T) {
	r, d, now := registry(t, "")
	runs(r, 1<<30, newExecutable(1, "/bin/shop"))
	d.listens(1<<30, 55, address)
	d.closes(55)
	d.listens(1<<30, 56, address) // another socket
	now.advance(time.Hour)
	r.Served()
	if !r.ListenerAlive(address) || r.ServiceOfListener(address) != "shop" {
		t.Errorf("alive: %v, service %q", r.ListenerAlive(address), r.ServiceOfListener(address))
	}
}

func TestRegistry_learns_routes_from_the_requests_that_show_one(t *testing.T) {
	r, _, _ := registry(t, "services: [{name: shop, routes: ['/orders/{id}']}]\nlimits: {paths_per_service: 5}")
	for _, step := range []struct {
		path   string
		source metric.RouteSource
		want   string
	}{
		{"/orders/17", metric.RouteRaw, "/orders/{id}"}, // from tcpslo.yml
		{"GET /carts/{cart}", metric.RoutePattern, "/carts/{cart}"},
		{"/carts/blue", metric.RouteRaw, "/carts/{cart}"}, // as another request showed
		{"", metric.RouteOther, "other"},
		{"/a", metric.RouteRaw, "/a"}, {"/b", metric.RouteRaw, "/b"}, {"/c", metric.RouteRaw, "/c"},
		{"/d", metric.RouteRaw, "other"}, // one more than paths_per_service
		{"/a", metric.RouteRaw, "/a"},
	} {
		if got := r.Route("shop", "GET", step.path, step.source); got != step.want {
			t.Errorf("%q is %q, want %q", step.path, got, step.want)
		}
	}
}

func TestRegistry_tells_its_own_network_namespace_from_another(t *testing.T) {
	r, _, _ := registry(t, "")
	link, err := os.Readlink("/proc/self/ns/net") // net:[4026531840]
	if err != nil {
		t.Fatal(err)
	}
	var own uint32
	if _, err := fmt.Sscanf(link, "net:[%d]", &own); err != nil {
		t.Fatal(err)
	}
	if got := r.NetworkNamespace(own); got != "" {
		t.Errorf("its own is %q, want no name", got)
	}
	if got := r.NetworkNamespace(1); got != "1" {
		t.Errorf("another is %q, want its inode", got)
	}
}

func TestCgroup_path_is_that_of_the_unified_hierarchy(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/shop.service\n":                         "/system.slice/shop.service",
		"12:cpu:/a\n1:name=systemd:/b\n0::/unified:with:colons\n": "/unified:with:colons",
		"12:cpu,cpuacct:/docker/1\n11:memory:/docker/2\n":         "/docker/1",
		"": "",
	} {
		if got := cgroupPath(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
