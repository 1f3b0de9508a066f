// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

// A Server is a running lab/server.
type Server = child.Server

// Start runs a build of lab/server and returns once it listens. It is told to end when
// ctx ends, if Stop has not done so before, and it ends when this process does.
func Start(ctx context.Context, binary string, args ...string) (*Server, error) {
	return child.StartServer(ctx, binary, args...)
}

// An Accepted is what one listening socket of the server has accepted.
type Accepted struct {
	Listen string // HOST:PORT or unix:PATH
	FD     int    // the socket's descriptor in the server
	Inode  uint64 // the socket's inode number
	Count  uint64
}

// ServerAccepts asks the server how many connections each listening socket has
// accepted. The asking takes a connection, which is in the answer.
func ServerAccepts(ctx context.Context, target string) ([]Accepted, error) {
	var page struct{ Listeners []Accepted }
	return page.Listeners, ask(ctx, target, "/-/accepts", &page)
}

// ServerCounts asks the server for its own books, kept by its handlers; Path is the
// server's template and Seconds is the time in the handlers. It first waits for the
// requests in flight to end: the books are complete only then. The asking is a
// request, which is not in the answer.
func ServerCounts(ctx context.Context, target string) (Counts, error) {
	for {
		var page struct {
			InFlight int `json:"in_flight"`
			Requests []struct {
				Method, Path, Status string
				Count                uint64
				Seconds              float64
			}
		}
		if err := ask(ctx, target, "/-/stats", &page); err != nil {
			return nil, err
		}
		if page.InFlight == 0 {
			counts := Counts{}
			for _, r := range page.Requests {
				counts[Key{r.Method, r.Path, r.Status}] = Tally{r.Count, r.Seconds}
			}
			return counts, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d requests still in flight: %w", page.InFlight, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ask fetches one of the server's pages about itself, over a connection of its own.
// HTTP/1.1 is good enough: the server speaks it on every listener.
func ask(ctx context.Context, target, path string, page any) error {
	d, err := parseTarget(target)
	if err != nil {
		return err
	}
	d.http2 = false
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, new(wire)) }
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lab"+path, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("asking for %q: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking for %q: status %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(page); err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	return nil
}
