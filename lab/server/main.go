// SPDX-License-Identifier: Apache-2.0

// Command server is the Go HTTP service that the exporter is tested against. It
// imports nothing but the standard library and compiles with every Go from 1.18
// on, so that the same handlers can be observed in each version of net/http.
//
// # Listening
//
// -listen may be given several times. Each value is one of
//
//	127.0.0.1:8080               one TCP listener; port 0 takes a free port
//	127.0.0.1:8080,reuseport=4   four SO_REUSEPORT listeners on that port
//	unix:/run/lab.sock           one Unix socket
//
// Every listening socket has an http.Server, an accept loop and an accept counter
// of its own. When all of them listen, one line is printed on standard output:
//
//	{"pid":1234,"listen":["127.0.0.1:8080","unix:/run/lab.sock"]}
//
// with one address for each -listen, in the order given. Built with Go 1.24 or newer, the
// TCP listeners are MPTCP sockets where the kernel has them, as those of any Go service
// are; GODEBUG=multipathtcp=0 makes them plain TCP. SIGTERM or SIGINT
// shuts the server down; the exit code is then 0.
//
// # Routes
//
// The routes are the table in routes.go. Four more are about the server itself and
// are left out of its own counts, though an observer outside sees them as requests
// like any other (and the connections they come on are accepted connections):
//
//	GET /-/stats        what the handlers did, counted by the handlers
//	GET /-/accepts      connections accepted by each listening socket
//	GET /-/goroutines   the traceback of each goroutine
//	GET /-/release      lets go what waits in GET /wait
//
// # Routers
//
// -router says who finds the handler, and so what a *http.Request shows of the route:
//
//	mux      http.ServeMux; Request.Pattern is set from Go 1.23 on
//	copy     a middleware calls r.WithContext before the mux, so that the pattern is
//	         set on a copy that net/http itself never sees
//	bare     a router written by hand that never sets Request.Pattern
//	fill     a router written by hand that sets Request.Pattern (Go 1.23 or newer)
//	wrapped  as mux, behind a listener that hides the connection in a type of its own
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"
)

// shutdownGrace is how long requests in flight may take to finish after SIGTERM
// before their connections are cut.
const shutdownGrace = 3 * time.Second

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves until a signal arrives or an accept loop fails.
func run(args []string, stdout io.Writer) error {
	opts, err := parseOptions(args)
	if err != nil {
		return err
	}
	stopProfile, err := startProfile(opts.cpuProfile)
	if err != nil {
		return err
	}
	defer stopProfile()

	listeners, addresses, err := openAll(opts)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	servers, err := newServers(opts, listeners)
	if err != nil {
		return err
	}

	// The handler for the signals is in place before anyone is told the process id.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	failed := make(chan error, len(servers))
	if !opts.noAccept {
		for i := range servers {
			go serve(servers[i], listeners[i], opts, failed)
		}
	}
	ready := struct {
		PID    int      `json:"pid"`
		Listen []string `json:"listen"`
	}{os.Getpid(), addresses}
	if err := json.NewEncoder(stdout).Encode(ready); err != nil {
		return fmt.Errorf("printing the ready line: %w", err)
	}

	select {
	case <-signals:
		shutdown(servers)
		return nil
	case err := <-failed:
		return err
	}
}

// newServers makes one http.Server for each listener; they share the handler.
func newServers(opts *options, listeners []*listener) ([]*http.Server, error) {
	handler, err := newHandler(opts.router, listeners)
	if err != nil {
		return nil, err
	}
	servers := make([]*http.Server, len(listeners))
	for i := range servers {
		srv := &http.Server{
			Handler:           handler,
			ReadTimeout:       opts.readTimeout,
			ReadHeaderTimeout: opts.readHeaderTimeout,
			WriteTimeout:      opts.writeTimeout,
			IdleTimeout:       opts.idleTimeout,
			// Handlers here panic on purpose, by the thousand.
			ErrorLog: log.New(io.Discard, "", 0),
		}
		if opts.tls {
			if srv.TLSConfig, err = selfSigned(); err != nil {
				return nil, err
			}
		}
		if opts.h2c {
			if err := enableH2C(srv); err != nil {
				return nil, err
			}
		}
		servers[i] = srv
	}
	return servers, nil
}

// serve runs one accept loop and reports an end that no shutdown asked for.
func serve(srv *http.Server, l *listener, opts *options, failed chan<- error) {
	var err error
	if opts.tls {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		failed <- fmt.Errorf("serving %q: %w", l.name, err)
	}
}

// shutdown lets requests in flight finish. What is left after the grace, for example
// a client that connected and never sent a request, the exit of the process cuts.
func shutdown(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	for _, srv := range servers {
		srv.Shutdown(ctx)
	}
}

// startProfile writes a CPU profile to the file until the returned function is
// called; profile-guided builds of this server are made from it.
func startProfile(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("creating the cpu profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("starting the cpu profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
