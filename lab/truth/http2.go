// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// http2 is the HTTP/2 client that all workers share, as streams of one connection.
type http2 struct {
	transport *http.Transport
	origin    string
	seen      *wire
}

func newHTTP2(d destination, seen *wire) *http2 {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, seen) }
	c := &http2{origin: "http://" + d.address, seen: seen}
	c.transport = &http.Transport{
		DialContext:        dial,
		DialTLSContext:     dial,
		Protocols:          new(http.Protocols),
		DisableCompression: true,
	}
	if d.tls {
		c.origin = "https://" + d.address
		c.transport.Protocols.SetHTTP2(true)
	} else {
		c.transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return c
}

func (c *http2) exchange(ctx context.Context, r request) (status string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	start := time.Now()
	var written atomic.Uint64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// The connection is there when the time starts to count.
		GotConn:      func(httptrace.GotConnInfo) { start = time.Now() },
		WroteHeaders: func() { written.Add(1) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			c.seen.informational.Add(1)
			return nil
		},
	})
	status, err = c.roundTrip(ctx, r)
	if n := written.Load(); n != 1 {
		return "", 0, fmt.Errorf("the request was written %d times, want once (last error: %w)", n, err)
	}
	return status, time.Since(start), err
}

func (c *http2) roundTrip(ctx context.Context, r request) (status string, err error) {
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.origin+r.Path+r.query, body)
	if err != nil {
		return "", err
	}
	// RoundTrip rather than Client.Do: no redirects are followed.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		// What the server's HTTP/2 sends for a panic (RFC 9113 section 7). The
		// error's type is not exported by net/http.
		if r.cut && strings.Contains(err.Error(), "INTERNAL_ERROR") {
			return "panic", nil
		}
		return "", err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		return "", fmt.Errorf("the server answered with %s, want HTTP/2", resp.Proto)
	}
	status = strconv.Itoa(resp.StatusCode)
	if r.leave {
		_, err = io.ReadFull(resp.Body, make([]byte, 1))
		return status, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return status, err
}

// close hangs up once the last worker is done: an idle connection is one that no
// stream uses.
func (c *http2) close() { c.transport.CloseIdleConnections() }
