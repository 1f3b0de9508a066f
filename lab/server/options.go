// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

type options struct {
	listen     []listenSpec
	backlog    int
	noAccept   bool
	pause      time.Duration
	tls        bool
	h2c        bool
	router     string
	cpuProfile string

	readTimeout, readHeaderTimeout, writeTimeout, idleTimeout time.Duration
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.Func("listen", "`address` to listen on: HOST:PORT, HOST:PORT,reuseport=N or unix:PATH (repeatable; default 127.0.0.1:0)", func(value string) error {
		spec, err := parseListen(value)
		o.listen = append(o.listen, spec)
		return err
	})
	fs.IntVar(&o.backlog, "backlog", 0, "accept queue `limit` passed to listen(2); 0 leaves Go's choice, net.core.somaxconn")
	fs.BoolVar(&o.noAccept, "no-accept", false, "listen, but never accept a connection")
	fs.DurationVar(&o.pause, "accept-pause", 0, "how long a listener keeps what it has accepted to itself")
	fs.BoolVar(&o.tls, "tls", false, "serve TLS with a certificate made at start; HTTP/2 is offered by ALPN")
	fs.BoolVar(&o.h2c, "h2c", false, "serve unencrypted HTTP/2 too (Go 1.24 or newer)")
	fs.StringVar(&o.router, "router", "mux", "who finds the handler: mux, copy, bare, fill or wrapped")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile to this `file` at exit")
	fs.DurationVar(&o.readTimeout, "read-timeout", 0, "http.Server.ReadTimeout")
	fs.DurationVar(&o.readHeaderTimeout, "read-header-timeout", 0, "http.Server.ReadHeaderTimeout")
	fs.DurationVar(&o.writeTimeout, "write-timeout", 0, "http.Server.WriteTimeout")
	fs.DurationVar(&o.idleTimeout, "idle-timeout", 0, "http.Server.IdleTimeout")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if len(o.listen) == 0 {
		o.listen = []listenSpec{{network: "tcp", address: "127.0.0.1:0", sockets: 1}}
	}
	return o, nil
}

// A listenSpec is one -listen flag.
type listenSpec struct {
	network   string // tcp or unix
	address   string
	reusePort bool
	sockets   int // listening sockets to open, 1 unless reusePort
}

func parseListen(value string) (listenSpec, error) {
	if strings.HasPrefix(value, "unix:") {
		return listenSpec{network: "unix", address: strings.TrimPrefix(value, "unix:"), sockets: 1}, nil
	}
	spec := listenSpec{network: "tcp", address: value, sockets: 1}
	comma := strings.IndexByte(value, ',')
	if comma < 0 {
		return spec, nil
	}
	spec.address = value[:comma]
	option := value[comma+1:]
	if !strings.HasPrefix(option, "reuseport=") {
		return spec, fmt.Errorf("unknown option %q, want reuseport=N", option)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(option, "reuseport="))
	if err != nil || n < 1 {
		return spec, errors.New("reuseport wants a number of at least 1")
	}
	spec.reusePort, spec.sockets = true, n
	return spec, nil
}
