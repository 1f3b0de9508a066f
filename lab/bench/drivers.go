// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// loadConnections is how many keep-alive connections a driver holds unless it says
// otherwise; each waits for an answer before it sends again.
const loadConnections = 4

// wrkSeconds is how long wrk runs. It can't be given a number of requests.
const wrkSeconds = 2

// result is what a driver saw. Times are in seconds.
type result struct {
	requests      int
	p50, p99, rps float64
}

// driver is a source of load.
type driver struct {
	name  string
	exact bool // every request sent is in the result
	run   func(ctx context.Context, url string) (result, error)
}

// drivers are lab/load, which keeps the server as busy as it gets or, with one
// connection, waits for it, and wrk where there is one. wrk takes less of the
// processor for itself, so that more of what is measured is the server.
func (b *bench) drivers() []driver {
	load := func(connections int) func(context.Context, string) (result, error) {
		return func(ctx context.Context, url string) (result, error) {
			return b.tools.runLoad(ctx, url, b.requests, connections)
		}
	}
	all := []driver{
		{fmt.Sprintf("lab/load, %d connections", loadConnections), true, load(loadConnections)},
		{"lab/load, 1 connection", true, load(1)},
	}
	if b.tools.wrk != "" {
		all = append(all, driver{fmt.Sprintf("wrk, %d connections", loadConnections), false, b.tools.runWrk})
	}
	return all
}

func (t tools) runLoad(ctx context.Context, url string, requests, connections int) (result, error) {
	output, err := output(ctx, t.load, "-url", url, "-n", strconv.Itoa(requests), "-c", strconv.Itoa(connections))
	if err != nil {
		return result{}, err
	}
	var report struct {
		RPS      float64
		P50, P99 float64
		Statuses map[string]int
	}
	if err := json.Unmarshal(output, &report); err != nil {
		return result{}, fmt.Errorf("lab/load: %w", err)
	}
	if report.Statuses["200"] != requests {
		return result{}, fmt.Errorf("lab/load: answers by status: %v, want %d with 200", report.Statuses, requests)
	}
	return result{requests, report.P50, report.P99, report.RPS}, nil
}

func (t tools) runWrk(ctx context.Context, url string) (result, error) {
	output, err := output(ctx, t.wrk, "-t1", fmt.Sprintf("-c%d", loadConnections), fmt.Sprintf("-d%ds", wrkSeconds), "--latency", url)
	if err != nil {
		return result{}, err
	}
	return parseWrk(output)
}

func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

var (
	wrkLatency  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+(?:us|ms|s))$`)
	wrkRequests = regexp.MustCompile(`(?m)^\s+([0-9]+) requests in `)
	wrkRate     = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)$`)
	wrkErrors   = regexp.MustCompile(`(?m)^\s+(Socket errors|Non-2xx).*$`)
)

// parseWrk reads what wrk --latency prints.
func parseWrk(output []byte) (result, error) {
	if found := wrkErrors.Find(output); found != nil {
		return result{}, fmt.Errorf("wrk: %s", bytes.TrimSpace(found))
	}
	requests, rate, latencies := wrkRequests.FindSubmatch(output), wrkRate.FindSubmatch(output), wrkLatency.FindAllSubmatch(output, -1)
	if requests == nil || rate == nil || len(latencies) != 2 {
		return result{}, fmt.Errorf("wrk printed what is not understood:\n%s", output)
	}
	var r result
	var errs [4]error
	r.requests, errs[0] = strconv.Atoi(string(requests[1]))
	r.rps, errs[1] = strconv.ParseFloat(string(rate[1]), 64)
	for i, into := range []*float64{&r.p50, &r.p99} {
		var took time.Duration
		took, errs[2+i] = time.ParseDuration(string(latencies[i][2]))
		*into = took.Seconds()
	}
	return r, errors.Join(errs[:]...)
}
