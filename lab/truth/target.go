// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// requestTimeout bounds each request, opening its connection included.
const requestTimeout = 30 * time.Second

// A destination is a target taken apart.
type destination struct {
	network, address string
	tls              bool
	http2            bool
}

func parseTarget(target string) (destination, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		return destination{network: "unix", address: path}, nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return destination{}, fmt.Errorf("parsing target: %w", err)
	}
	d := destination{network: "tcp", address: u.Host}
	switch u.Scheme {
	case "http":
	case "https":
		d.tls = true
	case "h2":
		d.tls, d.http2 = true, true
	case "h2c":
		d.http2 = true
	default:
		return d, fmt.Errorf("target %q: unknown scheme %q, want http, https, h2, h2c or unix", target, u.Scheme)
	}
	return d, nil
}

// clients returns what makes the client of each worker.
func (d destination) clients(ctx context.Context, seen *wire) func() client {
	if d.http2 {
		shared := newHTTP2(d, seen)
		return func() client { return shared }
	}
	return func() client { return &http1{destination: d, run: ctx, seen: seen} }
}

// dial opens a connection and counts it.
func (d destination) dial(ctx context.Context, seen *wire) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, err
	}
	if d.tls {
		secure := tls.Client(conn, d.tlsConfig())
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	seen.connections.Add(1)
	return conn, nil
}

// tlsConfig trusts anyone: lab/server makes its certificate at start.
func (d destination) tlsConfig() *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true}
	if d.http2 {
		config.NextProtos = []string{"h2"}
	}
	return config
}
