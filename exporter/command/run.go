// SPDX-License-Identifier: Apache-2.0

// Package command is what the program's commands do.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/host"
	"github.com/tcpslo/tcpslo/exporter/observe"
	"github.com/tcpslo/tcpslo/exporter/privilege"
	"github.com/tcpslo/tcpslo/exporter/server"
)

// Help begins the help text of the program.
const Help = `From the SYN to the SLO: observes what the Linux TCP stack and unmodified Go net/http services do to each request, by eBPF, and serves it to Prometheus.

Without a configuration file every Go HTTP server on this machine is found and observed, now and as it starts. Needs root, or the capabilities that the README lists.`

// Run is the command that observes and serves.
type Run struct {
	command    *kingpin.CmdClause
	web        *web.FlagConfig
	configFile *string
	metrics    *string
	max        *int
	noSelf     *bool
	lifecycle  *bool
	api        *bool
	prefer     *string
	procfs     *string
	sysfs      *string
	summary    *bool
}

// AddRun adds the command "run", the default.
func AddRun(app *kingpin.Application, flags *web.FlagConfig) *Run {
	c := app.Command("run", "Observe this machine and serve metrics (the default).").Default()
	return &Run{
		command:    c,
		web:        flags,
		configFile: c.Flag("config.file", "Configuration file; everything has a default, so none is needed.").PlaceHolder("tcpslo.yml").String(),
		metrics:    c.Flag("web.telemetry-path", "Path under which to serve metrics.").Default("/metrics").String(),
		max:        c.Flag("web.max-requests", "Scrapes answered at once; 0 for no limit.").Default("40").Int(),
		noSelf:     c.Flag("web.disable-exporter-metrics", "Leave out metrics of the exporter's own process (go_*, process_*).").Bool(),
		lifecycle:  c.Flag("web.enable-lifecycle", "Reload the configuration on POST /-/reload (SIGHUP always does).").Bool(),
		api:        c.Flag("web.enable-api", "Serve /api/v1, behind the same authentication as everything else (--no-web.enable-api to switch it off).").Default("true").Bool(),
		prefer:     preferFlag(c),
		procfs:     c.Flag("path.procfs", "Where the host's procfs is mounted, for the collectors that read it; in a container, the mounted one of the host.").Default("/proc").String(),
		sysfs:      c.Flag("path.sysfs", "Where the host's sysfs is mounted.").Default("/sys").String(),
		summary:    c.Flag("summary", "Print the services found and where to look, once the exporter listens; a terminal always gets it.").Bool(),
	}
}

func preferFlag(c *kingpin.CmdClause) *string {
	return c.Flag("probe.prefer", "Kinds of hook to try first, comma-separated: tp_btf, fentry, fexit, kprobe, kretprobe, tracepoint, uprobe, uprobe.multi.").PlaceHolder("KIND,…").String()
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// Name is the name of the command.
func (r *Run) Name() string { return r.command.FullCommand() }

func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	return config.Load(file, Collectors())
}

// load reads the configuration that is to be in force.
func (r *Run) load(log *slog.Logger) (*config.Config, error) {
	c, err := loadConfig(*r.configFile)
	if err != nil {
		return nil, err
	}
	for _, doubt := range c.Doubts {
		log.Warn("the configuration is allowed but hardly meant", "reason", doubt)
	}
	return c, nil
}

// gcPercent is how much garbage there may be, of what is in use, once all is
// attached. A scrape makes little of it, so that collecting it more often than by
// Go's default takes little time, and memory is what an exporter is to be sparing
// with.
const gcPercent = 25

// Execute runs until a signal ends it.
func (r *Run) Execute(log *slog.Logger) error {
	log.Info("starting", "version", version.Version, "go", runtime.Version())
	began := time.Now()
	c, err := r.load(log)
	if err != nil {
		return err
	}
	observer, err := observe.Start(c, observe.Options{Prefer: split(*r.prefer), Paths: host.Paths{Procfs: *r.procfs, Sysfs: *r.sysfs}}, log)
	if err != nil {
		return err
	}
	defer observer.Close()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := privilege.Drop(observer.Capabilities()...); err != nil {
		log.Warn("running with more privileges than needed", "error", err)
	}
	took := time.Since(began)
	log.Info("observing", "took", took.Round(time.Millisecond))

	registry := prometheus.NewRegistry()
	registry.MustRegister(observer, versioncollector.NewCollector("tcpslo_exporter"))
	if !*r.noSelf {
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	reload := func() error {
		err := observer.Reload(func() (*config.Config, error) { return r.load(log) })
		if err != nil {
			log.Error("the configuration stays as it was", "error", err)
		} else {
			log.Info("configuration reloaded", "file", *r.configFile)
		}
		return err
	}
	handler, err := server.New(server.Options{
		Observer: observer, Requests: observer.Requests(), Gatherer: prometheus.NewMultiTRegistry(observer, prometheus.ToTransactionalGatherer(registry)), Log: log, MetricsPath: *r.metrics, MaxRequests: *r.max,
		Lifecycle: *r.lifecycle, API: *r.api, Reload: reload,
	})
	if err != nil {
		return err
	}
	return r.serve(handler, reload, log, func(address net.Addr, tls bool) {
		terminal := isTerminal(os.Stdout)
		if !terminal && !*r.summary {
			return
		}
		summary{
			services: observer.Registry().Services(), programs: observer.Status(), took: took,
			self: uint32(os.Getpid()), url: landingURL(address, tls), metrics: *r.metrics, api: *r.api,
			colour: terminal && os.Getenv("NO_COLOR") == "",
		}.print(os.Stdout)
	})
}

// serve answers HTTP until a signal comes; listening is called with the first
// address once it is there.
func (r *Run) serve(handler http.Handler, reload func() error, log *slog.Logger, listening func(address net.Addr, tls bool)) error {
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       5 * time.Minute,
	}
	end, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var first sync.Once
	s.BaseContext = func(l net.Listener) context.Context {
		// exporter-toolkit sets this callback where it serves TLS, and nobody else does.
		tls := s.TLSConfig != nil && s.TLSConfig.GetConfigForClient != nil
		first.Do(func() { listening(l.Addr(), tls) })
		return end // a stream of requests has no other end, and Shutdown waits for it
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	failed := make(chan error, 1)
	go func() { failed <- web.ListenAndServe(s, r.web, log) }()
	for {
		select {
		case <-hangup:
			_ = reload() // logged, and told by a metric
		case err := <-failed:
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("%w; is another exporter running? choose another address with --web.listen-address", err)
			}
			return err
		case <-end.Done():
			log.Info("stopping")
			grace, done := context.WithTimeout(context.Background(), 3*time.Second)
			defer done()
			if err := s.Shutdown(grace); err != nil {
				s.Close()
			}
			return nil
		}
	}
}
