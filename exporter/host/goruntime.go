// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/exporter/goroutine"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// GoRuntimeOptions are the options of the collector "goruntime".
type GoRuntimeOptions struct {
	Common `yaml:",inline"`
	// CreatedBy is how many of the functions that created the most goroutines are
	// told, of each service: 1 to 1000.
	CreatedBy topFunctions `yaml:"created_by"`
	// Window is the time after which a goroutine that is still there counts as left
	// behind, and Windows how many in succession make a leak: goroutine.Leaks.
	Window  leakWindow  `yaml:"leak_window"`
	Windows leakWindows `yaml:"leak_windows"`
}

type (
	topFunctions int
	leakWindow   time.Duration
	leakWindows  int
)

// UnmarshalNode reads a number of 1 to 1000.
func (t *topFunctions) UnmarshalNode(n *strictyaml.Node) error {
	return between(n, (*int)(t), 1, 1000)
}

// UnmarshalNode reads a number of 1 to 60.
func (w *leakWindows) UnmarshalNode(n *strictyaml.Node) error { return between(n, (*int)(w), 1, 60) }

func between(n *strictyaml.Node, value *int, low, high int) error {
	if err := n.Decode(value); err != nil {
		return err
	}
	if *value < low || *value > high {
		return n.Errorf("%q must be between %d and %d, got %d", n.Name(), low, high, *value)
	}
	return nil
}

// UnmarshalNode reads a time of 1s to 24h.
func (w *leakWindow) UnmarshalNode(n *strictyaml.Node) error {
	if err := n.Decode((*time.Duration)(w)); err != nil {
		return err
	}
	if d := time.Duration(*w); d < time.Second || d > 24*time.Hour {
		return n.Errorf("%q must be between 1s and 24h, got %s", n.Name(), d)
	}
	return nil
}

// The defaults: goroutines are read every 15 s, as often as most Prometheus servers
// scrape, and a leak is told within six minutes.
var goRuntimeKind = Kind{
	Collector: names.GoRuntime,
	Options: func() Options {
		return &GoRuntimeOptions{Common: Common{Interval: Interval(15 * time.Second)}, CreatedBy: 20, Window: leakWindow(time.Minute), Windows: 4}
	},
	New: newGoRuntime,
}

// goRuntime reads the goroutines and counts the descriptors of services.
type goRuntime struct {
	environment Environment
	options     *GoRuntimeOptions
	procfs      procfs.FS
	reader      *goroutine.Reader
	processes   map[uint32]*goProcess
	findings    []Finding // of the last reading
	resting
}

func newGoRuntime(environment Environment, options Options) (Collector, error) {
	fs, err := procfs.NewFS(environment.Procfs)
	if err != nil {
		return nil, err
	}
	return &goRuntime{
		environment: environment, options: options.(*GoRuntimeOptions), procfs: fs,
		reader: goroutine.NewReader(environment.Procfs), processes: map[uint32]*goProcess{},
	}, nil
}

func (c *goRuntime) Close() error { return nil }

func (c *goRuntime) Update() (*Found, error) { return c.update(c.count) }

// Findings are those of the last reading.
func (c *goRuntime) Findings() []Finding { return c.findings }

// goService is what is added up of the processes of a service.
type goService struct {
	createdBy map[string]int // nil if none is Go
	findings  map[FindingKind]map[string]int
	open, max uint64
}

// connectionCreator is the function that creates a goroutine for each connection,
// and no other (net/http/server.go).
const connectionCreator = "net/http.(*Server).Serve"

func (c *goRuntime) count(now time.Time) (*Found, error) {
	var processes []Process
	if c.environment.Processes != nil {
		processes = c.environment.Processes()
	}
	var errs []error
	var pids []uint32
	services := map[string]*goService{}
	c.findings = nil
	for _, p := range processes {
		pids = append(pids, p.PID)
		s, ok := services[p.Service]
		if !ok {
			s = &goService{findings: map[FindingKind]map[string]int{}}
			services[p.Service] = s
		}
		for _, err := range []error{c.goroutines(now, p, s), c.descriptors(p, s)} {
			if err != nil && !isGone(err) {
				errs = append(errs, fmt.Errorf("service %q: %w", p.Service, err))
			}
		}
	}
	c.reader.Keep(pids)
	maps.DeleteFunc(c.processes, func(pid uint32, _ *goProcess) bool { return !slices.Contains(pids, pid) })
	f := &Found{}
	for name, s := range services {
		s.add(f, name, int(c.options.CreatedBy))
	}
	return f, errors.Join(errs...)
}

// isGone tells an error that only says that the process has ended.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// goroutines adds those of a process, and ends a window when it is time.
func (c *goRuntime) goroutines(now time.Time, of Process, s *goService) error {
	p, ok := c.processes[of.PID]
	if !ok {
		p = newGoProcess(c.options)
		c.processes[of.PID] = p
	}
	due := p.leaks.Due(now)
	var descriptors []goroutine.Descriptor
	var all []goroutine.Goroutine
	var err error
	if due {
		descriptors, err = c.reader.Descriptors(of.PID)
	}
	createdBy := map[string]int{}
	if err == nil {
		err = c.reader.Each(of.PID, func(g goroutine.Goroutine) {
			if !g.IsSystem() {
				createdBy[g.CreatedBy]++
			}
			if due && len(all) < mostJudged {
				all = append(all, g)
			}
		})
	}
	switch {
	case errors.Is(err, goexe.ErrNotGo), errors.Is(err, goexe.ErrUnsupportedVersion), errors.Is(err, goexe.ErrUnsupportedArch):
		return nil // the discovery of services says so
	case err != nil && !errors.Is(err, goroutine.ErrTooMany):
		return err
	}
	if due && len(all) < mostJudged {
		err = errors.Join(err, p.judge(now, of.PID, c.environment.Procfs, descriptors, all))
	}
	if s.createdBy == nil {
		s.createdBy = map[string]int{}
	}
	for function, n := range createdBy {
		s.createdBy[function] += n
	}
	for _, f := range p.findings(of) {
		if s.findings[f.Kind] == nil {
			s.findings[f.Kind] = map[string]int{}
		}
		s.findings[f.Kind][f.Creator] += f.Count
		c.findings = append(c.findings, f)
	}
	return err
}

// mostJudged bounds the goroutines of a process that are kept in memory to be
// judged. One with more has been suspected before it had them, or nobody looked.
const mostJudged = 200_000

// descriptors counts those of a process and keeps the count if it is nearer to its
// limit than that of the others.
func (c *goRuntime) descriptors(p Process, s *goService) error {
	process, err := c.procfs.Proc(int(p.PID))
	if err != nil {
		return err
	}
	open, err := process.FileDescriptorsLen()
	if err != nil {
		return fmt.Errorf("descriptors of process %d: %w", p.PID, err)
	}
	limits, err := process.Limits()
	if err != nil {
		return fmt.Errorf("limits of process %d: %w", p.PID, err)
	}
	if s.max == 0 || float64(open)/float64(limits.OpenFiles) > float64(s.open)/float64(s.max) {
		s.open, s.max = uint64(open), limits.OpenFiles
	}
	return nil
}

// add adds what there is of a service, with the functions that created the most
// goroutines.
func (s *goService) add(f *Found, service string, top int) {
	if s.max > 0 {
		f.Add(names.OpenFDs, float64(s.open), service)
		f.Add(names.MaxFDs, float64(s.max), service)
	}
	if s.createdBy == nil {
		return
	}
	f.Add(names.ConnectionGoroutines, float64(s.createdBy[connectionCreator]), service)
	functions := slices.SortedFunc(maps.Keys(s.createdBy), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.createdBy[b], s.createdBy[a]), cmp.Compare(a, b))
	})
	other := 0
	for i, function := range functions {
		if i < top {
			f.Add(names.Goroutines, float64(s.createdBy[function]), service, function)
		} else {
			other += s.createdBy[function]
		}
	}
	if other > 0 {
		f.Add(names.Goroutines, float64(other), service, "other")
	}
	f.Add(names.FDsWithoutOwner, sum(s.findings[hijackedForgotten]), service)
	for kind, metric := range findingMetrics {
		for creator, n := range s.findings[kind] {
			f.Add(metric, float64(n), service, creator)
		}
	}
}

// findingMetrics have the creator as their second label.
var findingMetrics = map[FindingKind]names.Metric{
	goroutineLeak: names.GoroutineLeak,
	closeWait:     names.CloseWaitHeld,
	fdLeak:        names.FDLeak,
}

func sum(counts map[string]int) float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total)
}
