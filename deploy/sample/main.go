// SPDX-License-Identifier: Apache-2.0

// Command customers plays the clients of the sample service, lab/server, until it is told to end: most of what they ask
// for is answered at once, some of it slowly, and now and then a request fails, so that there is an error budget to
// watch. At the end it prints how many requests were answered how:
//
//	{"200":5123,"201":731,"204":702,"503":13,"error":1}
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// wishes are what customers ask for, and how often of a thousand times.
var wishes = []struct {
	often        int
	method, path string
}{
	{450, http.MethodGet, "/hello/you"},
	{300, http.MethodGet, "/items/7"},
	{100, http.MethodPost, "/items"},
	{60, http.MethodDelete, "/items/7"},
	{80, http.MethodGet, "/slow?ms=40"},
	{5, http.MethodGet, "/slow?ms=450"}, // longer than the 200 ms that a service has by default
	{3, http.MethodGet, "/status/503"},
	{2, http.MethodGet, "/status/404"},
}

// busyFor is how long a request may take.
const busyFor = 10 * time.Second

func main() {
	target := flag.String("url", "http://127.0.0.1:18080", "base `URL` of the service")
	rate := flag.Int("rate", 50, "requests per second, 1 to 10000")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("rate must be 1 to 10000")
	if *rate >= 1 && *rate <= 10_000 {
		err = json.NewEncoder(os.Stdout).Encode(send(ctx, *target, *rate))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "customers:", err)
		os.Exit(1)
	}
}

// send sends requests until ctx ends, and waits for the answers: how many had which status, or none ("error").
func send(ctx context.Context, target string, rate int) map[string]int {
	var (
		mu     sync.Mutex
		counts = map[string]int{}
		all    sync.WaitGroup
		client = &http.Client{Timeout: busyFor}
		tick   = time.NewTicker(time.Second / time.Duration(rate))
	)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			all.Wait()
			return counts
		case <-tick.C:
			method, path := wish(rand.IntN(1000))
			all.Go(func() {
				status := ask(client, method, target+path)
				mu.Lock()
				defer mu.Unlock()
				counts[status]++
			})
		}
	}
}

// wish is what a customer asks for, by a number from 0 to 999.
func wish(n int) (method, path string) {
	for _, w := range wishes {
		if n -= w.often; n < 0 {
			return w.method, w.path
		}
	}
	panic("wishes are not a thousand")
}

func ask(client *http.Client, method, url string) (status string) {
	request, err := http.NewRequest(method, url, strings.NewReader(""))
	if err != nil {
		return "error"
	}
	answer, err := client.Do(request)
	if err != nil {
		return "error"
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return "error"
	}
	return strconv.Itoa(answer.StatusCode)
}
