// SPDX-License-Identifier: Apache-2.0

// Command load sends a fixed number of GET requests to one URL over HTTP/1.1
// keep-alive connections and prints what they took:
//
//	$ load -url http://127.0.0.1:8080/hello/you -n 20000 -c 4
//	{"requests":20000,"connections":4,"seconds":1.6,"rps":12480.1,"p50":0.00031,"p99":0.00072,"statuses":{"200":20000}}
//
// p50 and p99 are seconds from the write of a request to the end of its response: the
// smallest latency that at least half, or 99 %, of the requests did not exceed. rps is
// requests per second over the whole run, without the time to connect. The work
// is fixed, not the time, so that two runs can be compared; -c workers each wait
// for a response before they send again. It does less for each request than
// net/http's client, which on a small machine would cost more than the server.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// requestTimeout bounds each request, so that a server that hangs ends the run.
const requestTimeout = 30 * time.Second

func main() {
	target := flag.String("url", "", "`URL` to get (http only)")
	requests := flag.Int("n", 10_000, "`number` of requests")
	connections := flag.Int("c", 4, "`number` of connections")
	flag.Parse()
	report, err := run(*target, *requests, *connections)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// A report is what is printed. Durations are in seconds.
type report struct {
	Requests    int            `json:"requests"`
	Connections int            `json:"connections"`
	Seconds     float64        `json:"seconds"`
	RPS         float64        `json:"rps"`
	P50         float64        `json:"p50"`
	P99         float64        `json:"p99"`
	Statuses    map[string]int `json:"statuses"`
}

func run(target string, requests, connections int) (*report, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" || u.Port() == "" {
		return nil, fmt.Errorf("url %q: want http://HOST:PORT/PATH", target)
	}
	if connections < 1 || requests < connections {
		return nil, errors.New("want at least 1 connection, and a request for each")
	}
	team := make([]*worker, connections)
	for i := range team {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		// The requests are shared out evenly, the first workers take the rest.
		share := requests / connections
		if i < requests%connections {
			share++
		}
		team[i] = newWorker(conn, u, share)
	}

	start := time.Now()
	var running sync.WaitGroup
	for _, w := range team {
		running.Go(w.work)
	}
	running.Wait()
	seconds := time.Since(start).Seconds()

	r := &report{Requests: requests, Connections: connections, Seconds: seconds, RPS: float64(requests) / seconds, Statuses: map[string]int{}}
	var took []time.Duration
	for _, w := range team {
		if w.err != nil {
			return nil, w.err
		}
		took = append(took, w.took...)
		for status, n := range w.statuses {
			r.Statuses[strconv.Itoa(status)] += n
		}
	}
	slices.Sort(took)
	r.P50, r.P99 = percentile(took, 50).Seconds(), percentile(took, 99).Seconds()
	return r, nil
}

// percentile is the smallest of the sorted values that p percent do not exceed
// (nearest rank).
func percentile(sorted []time.Duration, p int) time.Duration {
	rank := (len(sorted)*p + 99) / 100
	return sorted[rank-1]
}

// A worker sends its share of the requests over one connection.
type worker struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte

	took     []time.Duration // its capacity is the share
	statuses map[int]int
	err      error
}

func newWorker(conn net.Conn, u *url.URL, share int) *worker {
	return &worker{
		conn:     conn,
		reader:   bufio.NewReader(conn),
		request:  fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.RequestURI(), u.Host),
		took:     make([]time.Duration, 0, share),
		statuses: map[int]int{},
	}
}

func (w *worker) work() {
	for i := range cap(w.took) {
		if err := w.once(); err != nil {
			w.err = fmt.Errorf("request %d of a connection: %w", i+1, err)
			return
		}
	}
}

func (w *worker) once() error {
	start := time.Now()
	if err := w.conn.SetDeadline(start.Add(requestTimeout)); err != nil {
		return err
	}
	if _, err := w.conn.Write(w.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	w.took = append(w.took, time.Since(start))
	w.statuses[resp.StatusCode]++
	return nil
}
