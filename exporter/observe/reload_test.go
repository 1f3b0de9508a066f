// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// small is a configuration that loads quickly: of the probes only service and
// accept. more is what else stands in tcpslo.yml.
func small(t *testing.T, more ...string) *config.Config {
	t.Helper()
	text := "collectors: {http: false, listen: false}\n" + strings.Join(more, "\n")
	c, err := config.Parse("tcpslo.yml", []byte(text), []string{"http", "listen"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, c *config.Config) *Observer {
	t.Helper()
	testenv.NeedRoot(t)
	o, err := Start(c, Options{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// server accepts connections of the test.
type server struct {
	net.Listener
	accepted uint64
}

func listen(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &server{Listener: l}
}

// serve lets n clients connect, one after the other.
func (s *server) serve(t *testing.T, n int) {
	t.Helper()
	for range n {
		client, err := net.Dial("tcp4", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		served, err := s.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s.accepted++
		client.Close()
		served.Close()
	}
}

func gather(t *testing.T, o *Observer) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(o)
	all := prometheus.NewMultiTRegistry(o, prometheus.ToTransactionalGatherer(registry))
	gathered, done, err := all.Gather()
	defer done()
	if err == nil {
		// What a registry would check.
		gathered, err = prometheus.Gatherers{prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return gathered, nil })}.Gather()
	}
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, family := range gathered {
		families[family.GetName()] = proto.Clone(family).(*dto.MetricFamily)
	}
	return families
}

// waits is how many connections of the listener the observer has seen wait to be
// accepted.
func waits(t *testing.T, o *Observer, s *server) uint64 {
	t.Helper()
	var n uint64
	for _, m := range gather(t, o)["tcpslo_accept_wait_seconds"].GetMetric() {
		for _, pair := range m.Label {
			if pair.GetName() == "listener" && pair.GetValue() == s.Addr().String() {
				n += m.Histogram.GetSampleCount()
			}
		}
	}
	return n
}

func reload(t *testing.T, o *Observer, c *config.Config) {
	t.Helper()
	if err := o.Reload(func() (*config.Config, error) { return c, nil }); err != nil {
		t.Fatal(err)
	}
}

func succeeded(t *testing.T, o *Observer) bool {
	t.Helper()
	return gather(t, o)["tcpslo_config_last_reload_successful"].Metric[0].Gauge.GetValue() == 1
}

func TestReload_keeps_the_counts_while_the_probes_are_the_same(t *testing.T) {
	own, _ := withProbes(t, map[string]string{"query.yaml": query})
	files := fmt.Sprintf("probe_files: %q", own.ProbeFiles)
	o, s := start(t, small(t, files)), listen(t)
	before := links(t)
	s.serve(t, 20)
	for _, c := range []*config.Config{small(t, files), small(t, files, "services: [{name: shop, match: {executable: '*/observe.test'}}]")} {
		reload(t, o, c)
		s.serve(t, 5)
		if got := waits(t, o, s); got != s.accepted {
			t.Errorf("counted %d connections, want %d", got, s.accepted)
		}
	}
	if after := links(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the links were %v and are %v", before, after)
	}
}

func TestReload_begins_anew_with_other_buckets_or_probes(t *testing.T) {
	o, s := start(t, small(t)), listen(t)
	before := links(t)
	for _, c := range []*config.Config{
		small(t, "histograms: {native_schema: 0}"),
		small(t, "services: [{name: shop, slos: [{name: fast, objective: 99, window: 30d, latency: 123ms}]}]"), // a boundary more
		small(t),
	} {
		s.serve(t, 10)
		reload(t, o, c)
		if got := waits(t, o, s); got != 0 {
			t.Errorf("counted %d connections right after the reload, want 0", got)
		}
		s.serve(t, 7)
		if got := waits(t, o, s); got != 7 {
			t.Errorf("counted %d connections since the reload, want 7", got)
		}
		if after := links(t); len(after) != len(before) {
			t.Errorf("%d links before and %d after the reload", len(before), len(after))
		}
	}
}

func TestReload_keeps_everything_when_the_new_configuration_is_bad(t *testing.T) {
	o, s := start(t, small(t)), listen(t)
	before := links(t)
	s.serve(t, 10)
	twice, _ := withProbes(t, map[string]string{"a.yaml": query, "b.yaml": query})
	tooFine, _ := withProbes(t, map[string]string{"a.yaml": strings.Replace(query, "query_seconds}", "query_seconds, buckets: {list: [1], native_schema: 8}}", 1)})
	for _, bad := range []struct {
		load func() (*config.Config, error)
		want string
	}{
		{func() (*config.Config, error) { return nil, errors.New("tcpslo.yml:1:1: no good") }, "tcpslo.yml:1:1: no good"},
		{func() (*config.Config, error) { return twice, nil }, `duplicate probe "query"`},
		{func() (*config.Config, error) { return tooFine, nil }, `metric "query_seconds": histogram needs `},
	} {
		err := o.Reload(bad.load)
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Fatalf("got %v, want %s", err, bad.want)
		}
		if succeeded(t, o) {
			t.Error("the metric says that the reload succeeded")
		}
		s.serve(t, 1)
		if got := waits(t, o, s); got != s.accepted {
			t.Errorf("counted %d connections, want %d", got, s.accepted)
		}
		if after := links(t); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("the links were %v and are %v", before, after)
		}
	}
	reload(t, o, small(t))
	if !succeeded(t, o) {
		t.Error("the metric says that the last reload failed")
	}
}

// SIGHUP and POST /-/reload may come together.
func TestReload_from_several_sides_at_once_leaves_one_set_of_probes(t *testing.T) {
	o := start(t, small(t))
	before := links(t)
	var all sync.WaitGroup
	for schema := range 4 {
		all.Go(func() {
			c := small(t, fmt.Sprintf("histograms: {native_schema: %d}", schema))
			if err := o.Reload(func() (*config.Config, error) { return c, nil }); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() { gather(t, o) })
	}
	all.Wait()
	if after := links(t); len(after) != len(before) {
		t.Errorf("%d links before and %d after the reloads", len(before), len(after))
	}
}

// links lists the BPF links that the test holds, by the numbers that the kernel
// gives them (Documentation/filesystems/proc.rst, fdinfo).
func links(t *testing.T) []string {
	t.Helper()
	descriptors, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range descriptors {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // the directory's own
		}
		for line := range strings.Lines(string(info)) {
			if id, ok := strings.CutPrefix(line, "link_id:"); ok {
				all = append(all, strings.TrimSpace(id))
			}
		}
	}
	return all
}
