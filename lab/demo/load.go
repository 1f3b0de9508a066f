// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// request is what the client sends, and what it must see of the answer.
type request struct {
	method string
	url    string // path and query
	path   string // the route's template
	status string // three digits, or "panic"
}

// counts is what the client has sent, by what the answer was.
type counts struct {
	mu sync.Mutex
	n  map[request]int
}

func (c *counts) total() int {
	sum := 0
	for _, n := range c.n {
		sum += n
	}
	return sum
}

// The load is fixed, not the time: two runs send the same. It takes about four
// seconds on a small machine.
const (
	shoppers         = 4
	purchases        = 600 // of each shopper, five requests each
	slowRequests     = 60  // one after the other, 20 to 79 ms but for every tenth
	lateMilliseconds = 260 // those are beyond the objective of 200 ms
	failures         = 30
	panics           = 7
	floodConnections = 20
)

// load sends everything and tells what was answered. Any answer that is not the
// expected one is an error.
func load(ctx context.Context, address string) (*counts, error) {
	truth := &counts{n: map[request]int{}}
	workers := []func() error{
		func() error { return truth.slow(ctx, address) },
		func() error { return truth.trouble(ctx, address) },
		func() error { return truth.drip(ctx, address) },
	}
	for range shoppers {
		workers = append(workers, func() error { return truth.shop(ctx, address) })
	}
	failed := make(chan error, len(workers))
	for _, work := range workers {
		go func() { failed <- work() }()
	}
	var first error
	for range workers {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	return truth, first
}

func (c *counts) shop(ctx context.Context, address string) error {
	client := newClient(true)
	defer client.CloseIdleConnections()
	for i := range purchases {
		item := "/items/" + strconv.Itoa(i)
		for _, r := range []request{
			{"GET", "/hello/shopper-" + strconv.Itoa(i), "/hello/{name}", "200"},
			{"POST", "/items", "/items", "201"},
			{"GET", item, "/items/{id}", "200"},
			{"GET", item, "/items/{id}", "200"},
			{"DELETE", item, "/items/{id}", "204"},
		} {
			if err := c.send(ctx, client, address, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *counts) slow(ctx context.Context, address string) error {
	client := newClient(true)
	defer client.CloseIdleConnections()
	for i := range slowRequests {
		wait := 20 + i
		if i%10 == 9 {
			wait = lateMilliseconds
		}
		if err := c.send(ctx, client, address, request{"GET", "/slow?ms=" + strconv.Itoa(wait), "/slow", "200"}); err != nil {
			return err
		}
	}
	return nil
}

// trouble sends what ends badly. Each request has a connection of its own:
// net/http's client would send one again whose reused connection was closed.
func (c *counts) trouble(ctx context.Context, address string) error {
	client := newClient(false)
	for i := range failures {
		if err := c.send(ctx, client, address, request{"GET", "/status/503", "/status/{code}", "503"}); err != nil {
			return err
		}
		if i < panics {
			if err := c.send(ctx, client, address, request{"GET", "/panic", "/panic", "panic"}); err != nil {
				return err
			}
		}
	}
	return nil
}

func newClient(keepAlive bool) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: !keepAlive}}
}

// send sends one request, compares the answer and counts it.
func (c *counts) send(ctx context.Context, client *http.Client, address string, r request) error {
	message, err := http.NewRequestWithContext(ctx, r.method, "http://"+address+r.url, nil)
	if err != nil {
		return err
	}
	status := ""
	response, err := client.Do(message)
	switch {
	case err == nil:
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		status = strconv.Itoa(response.StatusCode)
	case r.status == "panic" && ctx.Err() == nil:
		status = "panic" // net/http closes the connection without an answer
	default:
		return err
	}
	if status != r.status {
		return fmt.Errorf("%s %s was answered with %s, expected %s", r.method, r.url, status, r.status)
	}
	r.url = ""
	c.mu.Lock()
	c.n[r]++
	c.mu.Unlock()
	return nil
}

// connections are what floods a listener.
type connections struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// flood opens connections that send nothing. Those that the listener refuses try
// again after 1 s, as TCP does, until close.
func flood(ctx context.Context, address string, n int) *connections {
	ctx, cancel := context.WithCancel(ctx)
	c := &connections{cancel: cancel}
	for range n {
		c.wait.Go(func() {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return // refused until the end: that is what it is here for
			}
			<-ctx.Done()
			conn.Close()
		})
	}
	return c
}

func (c *connections) close() {
	c.cancel()
	c.wait.Wait()
}

// listenDrops is the kernel's own count, for this network namespace, of
// connections that listeners refused.
func listenDrops() (int, error) {
	file, err := os.Open("/proc/self/net/netstat")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var header []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if header == nil {
			header = fields
			continue
		}
		for i, name := range header {
			if name == "ListenDrops" && i < len(fields) {
				return strconv.Atoi(fields[i])
			}
		}
	}
	return 0, fmt.Errorf("/proc/self/net/netstat has no TcpExt ListenDrops: %w", lines.Err())
}
