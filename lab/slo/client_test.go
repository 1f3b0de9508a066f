// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// client asks a server again and again, and keeps a log of what it was answered.
type client struct {
	fails atomic.Bool // every other request is for an error

	all, bad  int
	stop      chan struct{}
	stopped   sync.WaitGroup
	transport http.Client
}

// startClient asks some fifty times a second. How often doesn't matter: what matters is in the log.
func startClient(t *testing.T, address string) *client {
	t.Helper()
	// On a new connection net/http never asks twice.
	c := &client{stop: make(chan struct{}), transport: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	c.stopped.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-c.stop:
				return
			case <-tick.C:
			}
			path, want := "/status/200", http.StatusOK
			if c.fails.Load() && c.all%2 == 0 {
				path, want = "/status/500", http.StatusInternalServerError
			}
			response, err := c.transport.Get("http://" + address + path)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s answered %s", path, response.Status)
				return
			}
			c.all++
			if want >= 500 {
				c.bad++
			}
		}
	})
	t.Cleanup(func() { c.log() })
	return c
}

// log ends the client and returns how many requests it has made, and how many of them failed.
func (c *client) log() (all, bad int) {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.stopped.Wait()
	return c.all, c.bad
}
