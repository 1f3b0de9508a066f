// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tcpslo/tcpslo/lab/child"
)

// exporter is a running exporter.
type exporter struct {
	*child.Exporter
	client *http.Client
	size   int           // of the longest answer of /metrics
	took   time.Duration // from the start of the process until it answered
}

// startExporter starts the exporter and waits until it answers, which it does
// once everything that runs is observed.
func startExporter(ctx context.Context, path string, flags ...string) (*exporter, error) {
	began := time.Now()
	e, err := child.StartExporter(ctx, path, flags...)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableCompression: true}}
	return &exporter{Exporter: e, client: client, took: time.Since(began)}, nil
}

// stop closes the bench's own connections first: the exporter waits for requests
// under way, and only the end of the observation is of interest. It tells how long
// the exporter took to go.
func (e *exporter) stop() (time.Duration, error) {
	e.client.CloseIdleConnections()
	began := time.Now()
	err := e.Stop()
	return time.Since(began), err
}

// finish stops the exporter after a measurement that ended with err, which may be
// nil. If the exporter had gone before, that is why, and its log tells more.
func (e *exporter) finish(err error) error {
	if err != nil {
		select {
		case <-e.Ended:
		case <-time.After(time.Second): // it may be about to end
		}
	}
	_, stopErr := e.stop()
	return errors.Join(err, stopErr)
}
