// SPDX-License-Identifier: Apache-2.0

// Package observe puts the parts together: it loads the probes that the
// configuration asks for, keeps the discovery of services running and replaces
// all of it on a reload, all or nothing.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/audit"
	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/goroutine"
	"github.com/tcpslo/tcpslo/exporter/host"
	"github.com/tcpslo/tcpslo/exporter/hotspot"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/service"
	"github.com/tcpslo/tcpslo/exporter/slo/events"
	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// Observer is everything that observes this machine. It gathers what the probes
// have counted and what procfs, sysfs and netlink say; as a prometheus.Collector it
// tells what that costs.
type Observer struct {
	log     *slog.Logger
	options Options
	kernel  *probe.Kernel
	trap    time.Duration

	requests   *timeline.Store
	exemplars  timeline.Exemplars
	hotspots   *hotspot.Store
	goroutines *goroutine.Reader

	reloading sync.Mutex // one reload at a time
	gathering sync.Mutex // what is gathered is in use until it is written

	mu       sync.RWMutex
	current  *generation
	reloaded time.Time
	failed   bool // the last reload
}

// generation is what one configuration has brought up.
type generation struct {
	plan     plan
	began    time.Time // counts are from then on
	set      *probe.Set
	host     *host.Set
	registry *service.Registry
	counted  atomic.Pointer[audit.Metrics] // what the audit needs of the last scrape
	stop     context.CancelFunc
	stopped  chan struct{}
	readers  sync.WaitGroup
	hotspots *hotspot.Reader // nil where the collector is off
	failure  error
}

// Options are what the command line says of observing.
type Options struct {
	Prefer []string // kinds of hook to try first
	Paths  host.Paths
}

// Start observes with a configuration.
func Start(c *config.Config, options Options, log *slog.Logger) (*Observer, error) {
	if missing := probe.MissingCapabilities(); len(missing) > 0 {
		return nil, fmt.Errorf("%w: missing %v; run as root or give the exporter these capabilities", probe.ErrPermission, missing)
	}
	// Before Linux 5.11 maps count against this limit; where it can't be raised,
	// creating a map says so.
	if err := rlimit.RemoveMemlock(); err != nil {
		log.Debug("memory limit stays", "error", err)
	}
	kernel, err := probe.OpenKernel()
	if err != nil {
		return nil, err
	}
	o := &Observer{log: log, options: options, kernel: kernel, requests: timeline.NewStore(c.Limits.SlowRequests), hotspots: hotspot.NewStore(), goroutines: goroutine.NewReader(options.Paths.Procfs)}
	if o.trap, err = kernel.MeasureTrap(); err != nil {
		log.Warn("the cost of a uprobe could not be measured; probe_overhead_seconds_total leaves the trap out", "error", err)
	}
	from, err := newPlan(c)
	if err != nil {
		return nil, err
	}
	if o.current, err = o.bringUp(c, from); err != nil {
		return nil, err
	}
	o.reloaded = time.Now()
	return o, nil
}

// plan is all that probes are loaded from: while it is the same, a reload leaves
// them, and what they have counted, as they are.
type plan struct {
	definitions []*probe.Definition
	objects     map[string][]byte
	histograms  config.Histograms
	thresholds  []float64
	slowerThan  bool // a service has a threshold of its own
	limits      config.Limits
	host        host.Plan
}

func newPlan(c *config.Config) (plan, error) {
	definitions, objects, err := Definitions(c)
	if err != nil {
		return plan{}, err
	}
	collectors, err := host.NewPlan(c)
	slowerThan := slices.ContainsFunc(c.Services, func(s *config.Service) bool { return s.SlowerThan > 0 })
	return plan{definitions, objects, c.Histograms, c.LatencyThresholds(), slowerThan, c.Limits, collectors}, err
}

// Check finds what is wrong with a configuration beyond its own text: the probe files
// that it names, the options of collectors, and more buckets than there is room for.
func Check(c *config.Config) error {
	p, err := newPlan(c)
	if err != nil {
		return err
	}
	buckets, err := bucketOptions(c)
	if err != nil {
		return err
	}
	var refused []error
	for _, d := range p.definitions {
		refused = append(refused, probe.CheckBuckets(d, p.objects[d.Name], buckets))
	}
	return errors.Join(refused...)
}

// bucketOptions are what the histograms of all probes are made by.
func bucketOptions(c *config.Config) (probe.Options, error) {
	boundaries, err := c.Histograms.RequestBuckets.Boundaries()
	if err != nil {
		return probe.Options{}, fmt.Errorf("histograms.request_buckets: %w", err)
	}
	return probe.Options{RequestBuckets: boundaries, NativeSchema: c.Histograms.NativeSchema, Thresholds: c.LatencyThresholds()}, nil
}

// Definitions reads the definitions of the built-in probes that the
// configuration leaves on, and of the user's own.
func Definitions(c *config.Config) ([]*probe.Definition, map[string][]byte, error) {
	var definitions []*probe.Definition
	var refused []error
	objects := map[string][]byte{}
	for _, builtin := range bpf.Probes() {
		d, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			return nil, nil, err
		}
		if d.Name != discoveryProbe && !c.CollectorEnabled(d.Name, !d.OptIn) {
			continue
		}
		if err := d.Configure(c.Collectors[d.Name].Options); err != nil {
			refused = append(refused, err)
		}
		if objects[d.Name], err = bpf.Object(d.Name); err != nil {
			return nil, nil, err
		}
		definitions = append(definitions, d)
	}
	own, err := ownDefinitions(c, objects)
	if err := errors.Join(append(refused, err)...); err != nil {
		return nil, nil, err
	}
	definitions, err = withNeeds(definitions, own, c)
	if err != nil {
		return nil, nil, err
	}
	return definitions, objects, checkNames(definitions)
}

// withNeeds leaves out probes whose needs are off, unless the configuration asks for
// them. Of the others with needs, those come first that have histograms: they decide the
// boundaries of what is counted for them. Those come last that only look at what the
// others have.
func withNeeds(builtin, own []*probe.Definition, c *config.Config) ([]*probe.Definition, error) {
	all := slices.Concat(builtin, own)
	on := map[string]bool{slowRequests: c.Limits.SlowRequests > 0}
	for _, d := range all {
		on[d.Name] = true
	}
	isHistogram := func(m metric.Definition) bool { return m.Type == metric.Histogram }
	var first, rest, last []*probe.Definition
	var errs []error
	for _, d := range all {
		missing := slices.DeleteFunc(slices.Clone(d.Needs), func(name string) bool { return on[name] })
		switch {
		case len(d.Needs) == 0:
			rest = append(rest, d)
		case len(missing) == 0 && slices.ContainsFunc(d.Metrics, isHistogram):
			first = append(first, d)
		case len(missing) == 0:
			last = append(last, d)
		case slices.Contains(own, d):
			errs = append(errs, fmt.Errorf("%s: probe %q needs %q, which is off, or there is none of that name", d.File, d.Name, missing[0]))
		case c.CollectorEnabled(d.Name, false):
			errs = append(errs, fmt.Errorf("collector %q needs %q, which is off", d.Name, missing[0]))
		}
	}
	return slices.Concat(first, rest, last), errors.Join(errs...)
}

// discoveryProbe wakes the discovery of services; it can't be switched off.
const discoveryProbe = "service"

func ownDefinitions(c *config.Config, objects map[string][]byte) ([]*probe.Definition, error) {
	var definitions []*probe.Definition
	var errs []error
	files, err := c.ProbePaths()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		d, object, err := ownDefinition(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		definitions = append(definitions, d)
		objects[d.Name] = object
	}
	return definitions, errors.Join(errs...)
}

func ownDefinition(file string) (*probe.Definition, []byte, error) {
	yaml, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	d, err := probe.ReadDefinition(file, yaml)
	if err != nil {
		return nil, nil, err
	}
	if d.GoFunction != nil {
		object, err := bpf.Object("go_function")
		return d, object, err
	}
	name := d.Object
	if name == "" {
		name = d.Name + ".bpf.o"
	}
	object, err := os.ReadFile(filepath.Join(filepath.Dir(file), name))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: object of probe %q: %w; compile it with: clang -g -O2 -target bpf -c", file, d.Name, err)
	}
	return d, object, nil
}

// checkNames refuses two probes, or two metrics, with one name. Prometheus knows
// a histogram by three names, of which NAME_count may be a counter's, too.
func checkNames(definitions []*probe.Definition) error {
	var errs []error
	probes, metrics := map[string]string{}, map[string]string{}
	for _, m := range slices.Concat(names.SLO, names.Self) {
		metrics[m.Name] = "the exporter itself"
	}
	for _, c := range names.Host {
		probes[c.Name] = "the exporter itself"
		for _, m := range c.Metrics {
			metrics[m.Name] = "the exporter itself"
		}
	}
	for _, d := range definitions {
		if before, ok := probes[d.Name]; ok {
			errs = append(errs, fmt.Errorf("%s: duplicate probe %q, it is in %s too", d.File, d.Name, before))
		}
		probes[d.Name] = d.File
		for _, m := range d.Metrics {
			for _, name := range seriesNames(m) {
				if before, ok := metrics[name]; ok {
					errs = append(errs, fmt.Errorf("%s: duplicate metric %q, it is in %s too", d.File, name, before))
				}
				metrics[name] = d.File
			}
		}
	}
	return errors.Join(errs...)
}

func seriesNames(m metric.Definition) []string {
	all := []string{m.Name}
	if m.Type == metric.Histogram {
		all = append(all, m.Name+"_bucket", m.Name+"_sum", m.Name+"_count")
	}
	return all
}

// bringUp loads all probes and waits until what runs now is observed.
func (o *Observer) bringUp(c *config.Config, from plan) (*generation, error) {
	registry, err := service.New(c)
	if err != nil {
		return nil, err
	}
	if err := o.kernel.Remember(); err != nil {
		return nil, err
	}
	g := &generation{plan: from, began: time.Now(), registry: registry, set: &probe.Set{}, stopped: make(chan struct{})}
	options, err := o.probeOptions(c, registry)
	if err != nil {
		return nil, err
	}
	options.Shared = &probe.Shared{}
	for _, d := range from.definitions {
		options.Shared.Running = append(options.Shared.Running, d.Name)
	}
	if from.limits.SlowRequests > 0 {
		options.Shared.Running = append(options.Shared.Running, slowRequests)
	}
	if from.slowerThan {
		options.Shared.Running = append(options.Shared.Running, slowerThan)
	}
	for _, d := range from.definitions {
		p, err := probe.Load(d, from.objects[d.Name], options)
		if err != nil {
			g.set.Close()
			return nil, err
		}
		g.set.Probes = append(g.set.Probes, p)
	}
	g.host = host.NewSet(from.host, host.Environment{
		Paths: o.options.Paths, Resolver: registry, Log: o.log,
		Processes: func() []host.Process { return processes(registry) },
		Owners:    func() map[uint32]audit.Owner { return owners(registry) }, Counted: g.counted.Load,
	})
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	ready := make(chan struct{})
	discovery := service.NewDiscovery(registry, o.log)
	go func() {
		defer close(g.stopped)
		var events, wishes = g.set.Named(discoveryProbe).Map("events"), (*ebpf.Map)(nil)
		if http := g.set.Named("http"); http != nil {
			wishes = http.Map("wishes")
		}
		g.failure = discovery.Run(ctx, g.set, events, wishes, func() { close(ready) })
	}()
	select {
	case <-ready:
	case <-g.stopped:
		return nil, errors.Join(g.failure, g.set.Close(), g.host.Close())
	}
	o.readRequests(ctx, g)
	if err := o.readHotspots(ctx, g); err != nil {
		g.close()
		return nil, err
	}
	// Loading takes more memory than all that comes later.
	o.kernel.Forget()
	debug.FreeOSMemory()
	return g, nil
}

// owners are the owners of the listening sockets, by inode.
func owners(registry *service.Registry) map[uint32]audit.Owner {
	all := map[uint32]audit.Owner{}
	for _, l := range registry.Listeners() {
		all[uint32(l.Inode)] = audit.Owner{PID: l.PID, Service: l.Service}
	}
	return all
}

// processes are the processes of all services.
func processes(registry *service.Registry) []host.Process {
	var all []host.Process
	for _, s := range registry.Services() {
		for _, pid := range s.PIDs {
			all = append(all, host.Process{PID: pid, Service: s.Name})
		}
	}
	return all
}

func (o *Observer) probeOptions(c *config.Config, registry *service.Registry) (probe.Options, error) {
	options, err := bucketOptions(c)
	if err != nil {
		return probe.Options{}, err
	}
	options.Kernel = o.kernel
	options.Environment = metric.Environment{Resolver: registry, KernelBTF: o.kernel.BTF, Symbol: o.kernel.Symbol}
	options.Log = o.log
	options.Prefer = o.options.Prefer
	options.TrapNanoseconds = uint64(o.trap.Nanoseconds())
	options.MaxEntries = mapSizes(c.Limits)
	return options, nil
}

// mapSizes gives the maps the sizes that the limits ask for.
func mapSizes(l config.Limits) map[string]uint32 {
	sizes := map[string]uint32{"goroutines": uint32(l.Connections), "connections": uint32(l.Connections)}
	for _, name := range []string{"listeners", "listener_of_sock", "accept_queue_depth", "syn_queue_depth", "handshake_nanoseconds", "synack_retransmits", "accept_wait_nanoseconds",
		"first_read_nanoseconds", "fastopen_accepts", "fastopen_fallbacks", "fastopen_queues"} {
		sizes[name] = uint32(l.Listeners)
	}
	for _, name := range []string{"queued_connections", "accepted_connections"} { // a few CPUs or workers each
		sizes[name] = uint32(4 * l.Listeners)
	}
	return sizes
}

func (g *generation) close() {
	g.stop()
	g.readers.Wait()
	<-g.stopped // which closes the probes
	g.host.Close()
}

// Reload puts another configuration in force, or keeps the one there is and
// says why. What only names things (services, routes) changes in place; if
// probes or buckets change, or what an objective counts, all probes are loaded anew
// before the old ones go, and counts begin at 0.
func (o *Observer) Reload(load func() (*config.Config, error)) error {
	o.reloading.Lock()
	defer o.reloading.Unlock()
	c, err := load()
	if err == nil {
		err = o.replace(c)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed = err != nil; err != nil {
		return err
	}
	o.reloaded = time.Now()
	return nil
}

func (o *Observer) replace(c *config.Config) error {
	o.mu.RLock()
	old := o.current
	o.mu.RUnlock()
	from, err := newPlan(c)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(old.plan, from) && !old.registry.Config().Recounts(c) {
		old.registry.SetConfig(c)
		return nil
	}
	fresh, err := o.bringUp(c, from)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.current = fresh
	o.mu.Unlock()
	o.requests.SetLimit(c.Limits.SlowRequests)
	old.close()
	return nil
}

// Registry is what is known of services now.
func (o *Observer) Registry() *service.Registry {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.current.registry
}

// Status tells which variant each program got.
func (o *Observer) Status() []probe.Status {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return append(o.current.set.Status(), o.current.host.Status()...)
}

// Findings lists what services should have given back.
func (o *Observer) Findings() []host.Finding {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.current.host.Findings()
}

// Describe sends nothing: which metrics there are depends on the probes.
func (o *Observer) Describe(chan<- *prometheus.Desc) {}

var (
	reloadSuccess = names.ConfigReloadSuccess.Desc()
	reloadTime    = names.ConfigReloadTime.Desc()
	uprobeTrap    = names.UprobeTrap.Desc()
	lost          = names.Lost.Desc()
)

// Gather returns the metrics that probes count and collectors read. The next call
// changes the numbers in what this one returns, so it waits until done is called.
// As a prometheus.TransactionalGatherer it comes before the registry that has the
// Observer as a collector.
func (o *Observer) Gather() (families []*dto.MetricFamily, done func(), err error) {
	o.gathering.Lock()
	defer func() {
		if done == nil { // a panic
			o.gathering.Unlock()
		}
	}()
	o.mu.RLock()
	defer o.mu.RUnlock()
	// Reading maps keeps one CPU busy, mostly, and procfs another.
	counted, hosted := make(chan struct{}), make(chan []*dto.MetricFamily, 1)
	go func() { hosted <- o.current.host.Gather(counted) }()
	families, err = o.current.set.Gather()
	if requests := events.Find(families).Durations; requests != nil {
		o.exemplars.Attach(requests)
	}
	o.current.counted.Store(audit.ReadMetrics(families))
	close(counted)
	families = append(families, events.Families(o.current.objectives(families))...)
	return append(families, <-hosted...), o.gathering.Unlock, err
}

// Collect sends what probes and collectors cost.
func (o *Observer) Collect(ch chan<- prometheus.Metric) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	o.current.set.Collect(ch)
	o.current.host.Collect(ch)
	o.current.registry.Served()
	success := 1.0
	if o.failed {
		success = 0
	}
	ch <- prometheus.MustNewConstMetric(reloadSuccess, prometheus.GaugeValue, success)
	ch <- prometheus.MustNewConstMetric(reloadTime, prometheus.GaugeValue, float64(o.reloaded.UnixMilli())/1000)
	if o.current.tells() {
		ch <- prometheus.MustNewConstMetric(lost, prometheus.CounterValue, float64(o.requests.Lost()), "timeline", "slow_consumer")
	}
	if r := o.current.hotspots; r != nil {
		ch <- prometheus.MustNewConstMetric(lost, prometheus.CounterValue, float64(r.Lost()), hotspots, "process_gone")
		ch <- prometheus.MustNewConstMetric(lost, prometheus.CounterValue, float64(o.hotspots.Lost()), hotspots, "store_full")
	}
	ch <- prometheus.MustNewConstMetric(uprobeTrap, prometheus.GaugeValue, o.trap.Seconds())
}

// Close detaches all probes.
func (o *Observer) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.current.close()
}
