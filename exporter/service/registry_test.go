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

// On a machine where processes come and go all the time, labels must not be made
// anew at each scrape.
func TestRegistry_renews_labels_only_when_one_may_have_changed(t *testing.T) {
	r, d, _ := registry(t, "")
	const shop, compiler = 1 << 30, 1<<30 + 1
	x := newExecutable(1, "/bin/shop")
	changes := func(do func()) bool {
		before := r.Generation()
		do()
		return r.Generation() != before
	}
	if r.ServiceOfProcess(shop, 1); !changes(func() { runs(r, shop, x) }) {
		t.Error("a process that was asked about gets another name, and labels are kept")
	}
	if changes(func() { runs(r, compiler, newExecutable(2, "/bin/cc")); d.ends(compiler) }) {
		t.Error("a process that nobody asked about comes and goes, and labels are not kept")
	}
	if r.ServiceOfProcess(shop, 1); changes(func() { d.ends(shop) }) || r.ServiceOfProcess(shop, 1) != "shop" {
		t.Error("a process ends and keeps its name, and labels are not kept")
	}
	if !changes(func() { runs(r, shop, newExecutable(3, "/bin/desk")) }) {
		t.Error("a process that was asked about executes another program, and labels are kept")
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

func TestRegistry_names_a_process_that_has_ended_without_its_executable(t *testing.T) {
	const tgid = 1 << 30
	r, d, now := registry(t, "limits: {series_retention: 30s}")
	runs(r, tgid, newExecutable(3, "/bin/shop"))
	d.ends(tgid)
	if got := r.ServiceOfProcess(tgid, 0); got != "shop" {
		t.Errorf("the process that has ended is %q, want shop", got)
	}
	runs(r, tgid, newExecutable(4, "/bin/desk"))
	if got := r.ServiceOfProcess(tgid, 0); got != "desk" {
		t.Errorf("the next process with the number is %q, want desk", got)
	}
	d.ends(tgid)
	now.advance(31 * time.Second)
	r.Served()
	if got := r.ServiceOfProcess(tgid, 0); got != "" || len(r.ended) > 0 {
		t.Errorf("long after it has ended it is %q, %d are kept; want none", got, len(r.ended))
	}
	if !r.ServiceAlive("") {
		t.Error("what is counted for unknown processes goes when one of them ends")
	}
}

// The test is a process of which no event has told the registry, as a process
// that was forked and executes nothing is.
func TestRegistry_names_a_process_that_was_forked(t *testing.T) {
	r, d, _ := registry(t, "services: [{name: shop, match: {executable: '*/service.test'}}]")
	tgid := uint32(os.Getpid())
	if got := r.ServiceOfProcess(tgid, 0); got != "shop" {
		t.Fatalf("the process is %q, want shop", got)
	}
	select {
	case do := <-d.events:
		do()
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was asked to examine it")
	}
	if p := r.processes[tgid]; p == nil || p.service != "shop" || !r.ServiceAlive("shop") {
		t.Errorf("it is not known from then on: %+v", p)
	}
	if got := r.ServiceOfProcess(1<<30, 0); got != "" {
		t.Errorf("a process that there is not is %q", got)
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

func TestRegistry_names_the_service_of_a_connection_by_its_local_address(t *testing.T) {
	const shop, desk, gone = 1 << 30, 1<<30 + 1, 1<<30 + 2
	r, d, _ := registry(t, "")
	at := func(addr string, netns uint32) metric.Listener {
		return metric.Listener{Address: netip.MustParseAddrPort(addr), Netns: netns}
	}
	for tgid, name := range map[uint32]string{shop: "shop", desk: "desk", gone: "gone"} {
		runs(r, tgid, newExecutable(tgid, "/bin/"+name))
	}
	d.listens(shop, 1, at("0.0.0.0:80", 7))
	d.listens(desk, 2, at("10.0.0.1:80", 7))
	d.listens(desk, 3, at("[::]:443", 7))
	d.listens(gone, 4, at("127.0.0.1:80", 7))
	d.closes(4)
	d.listens(gone, 5, at("127.0.0.1:81", 7))
	d.closes(5)
	for _, test := range []struct {
		sentence, local string
		netns           uint32
		service, found  string
	}{
		{"the listener of the very address", "10.0.0.1:80", 7, "desk", "10.0.0.1:80"},
		{"the listener of every IPv4 address", "10.0.0.2:80", 7, "shop", "0.0.0.0:80"},
		{"the listener of every address, for an IPv4 client", "10.0.0.1:443", 7, "desk", "[::]:443"},
		{"the listener of every address, for an IPv6 client", "[2001:db8::1]:443", 7, "desk", "[::]:443"},
		{"an open listener before one that has gone", "127.0.0.1:80", 7, "shop", "0.0.0.0:80"},
		{"one that has gone, where there is no other", "127.0.0.1:81", 7, "gone", "127.0.0.1:81"},
		{"none for IPv6 where only IPv4 is listened on", "[2001:db8::1]:80", 7, "", ""},
		{"none on another port", "10.0.0.1:8080", 7, "", ""},
		{"none in another namespace", "10.0.0.1:80", 8, "", ""},
	} {
		service, listener, ok := r.ServiceOfLocalAddress(at(test.local, test.netns))
		if want := test.found != ""; service != test.service || ok != want || ok && listener != at(test.found, test.netns) {
			t.Errorf("%s: got %q, %v, %v", test.sentence, service, listener, ok)
		}
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
