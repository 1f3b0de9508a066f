// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the exporter as a black box and holds what it exports
// against ground truth: the kernel's own counters, and connections that the
// test opened, accepted and counted itself. Counts must be equal, not close.
package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the listen and accept probes.
const (
	queueConnections = "tcpslo_listen_accept_queue_connections"
	queueLimit       = "tcpslo_listen_accept_queue_limit"
	queueDepth       = "tcpslo_listen_accept_queue_depth"
	synQueueDepth    = "tcpslo_listen_syn_queue_depth"
	synRequests      = "tcpslo_listen_syn_queue_requests"
	listenDrops      = "tcpslo_listen_drops_total"
	synackAgain      = "tcpslo_listen_synack_retransmits_total"
	queued           = "tcpslo_listen_queued_connections_total"
	accepted         = "tcpslo_accepted_connections_total"
	acceptWait       = "tcpslo_accept_wait_seconds"
	handshake        = "tcpslo_tcp_handshake_seconds"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// start runs an exporter without a configuration file.
func start(t *testing.T) *labtest.Exporter {
	t.Helper()
	testenv.NeedRoot(t)
	return labtest.StartExporter(t, labtest.Options{})
}

// listen opens a listener in the exporter's namespace and waits until the
// exporter knows whose it is, so that all that follows is counted for it.
func listen(t *testing.T, ex *labtest.Exporter, opts labtest.ListenOptions) *labtest.Listener {
	t.Helper()
	l := labtest.Listen(t, nil, opts)
	ex.WaitListener(l.Addr.String())
	return l
}

// at selects the series of one listener in the exporter's own namespace.
func at(addr netip.AddrPort) labtest.Labels {
	return labtest.Labels{"listener": addr.String(), "netns": ""}
}

// self is the service label of listeners that the test process owns.
func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(exe)
}

// exact compares a count with its ground truth. From Linux 7.0 on the kernel's
// recursion guard now and then skips a run of a BPF program and says so;
// tcpslo_probe_misses_total passes that on, and only what it admits may be
// missing. It stays 0 on older kernels.
func exact[N int | uint64 | float64](x *labtest.Exposition, what string, got, want N) error {
	return exactSum(x, what, got, want, 1)
}

// exactSum is exact for a sum, to which one run of a program adds most at a time.
func exactSum[N int | uint64 | float64](x *labtest.Exposition, what string, got, want, most N) error {
	missed := N(x.Value("tcpslo_probe_misses_total", nil))
	if got == want || (got < want && want-got <= missed*most) {
		return nil
	}
	return fmt.Errorf("%s: %v, want %v (%v runs were missed)", what, got, want, missed)
}

// exactRest is exact for a count that programs take something off: what they missed is still in it.
func exactRest(x *labtest.Exposition, what string, got, want float64) error {
	return exact(x, what, min(got, max(want, got-x.Value("tcpslo_probe_misses_total", nil))), want)
}

// same is exact for a gauge, where nothing may be missing.
func same[V comparable](what string, got, want V) error {
	if got != want {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}

// atLeast guards a test against ground truth that did not happen.
func atLeast[N int | uint64 | float64](what string, got, want N) error {
	if got < want {
		return fmt.Errorf("%s: %v, want at least %v", what, got, want)
	}
	return nil
}

// meanwhile disturbs again and again, at least the given number of times, while it
// checks, at least as often as given. Neither is told to be the faster one: a
// device or a namespace goes when the kernel has waited for RCU.
func meanwhile(t *testing.T, disturbances int64, disturb func(i int) error, checks int, check func() error) {
	t.Helper()
	var done atomic.Int64
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			if err := disturb(i); err != nil {
				ended <- err
				return
			}
			done.Add(1)
		}
	}()
	for i := 0; (i < checks || done.Load() < disturbances) && len(ended) == 0; i++ {
		if err := check(); err != nil {
			t.Error(err)
			break
		}
	}
	close(end)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// stillCounts scrapes in a moment in which the kernel drops nothing, so that the
// exposition and the counters that it returns speak of one moment.
func stillCounts(t *testing.T, ex *labtest.Exporter, ns *labtest.NetNS) (x *labtest.Exposition, kernel labtest.Counters) {
	t.Helper()
	labtest.Eventually(t, func() error {
		before := labtest.Netstat(t, ns)["ListenDrops"]
		x = ex.Scrape()
		kernel = labtest.Netstat(t, ns)
		if kernel["ListenDrops"] != before {
			return errors.New("the kernel is still dropping connections")
		}
		return nil
	})
	return x, kernel
}

// sumOf adds up the values of a map.
func sumOf(m map[string]float64) float64 {
	sum := 0.0
	for _, v := range m {
		sum += v
	}
	return sum
}

// grown lists the keys whose value is more than slack above what it was.
func grown[N int | float64](was, is map[string]N, slack N) error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(is)) {
		if is[k] > was[k]+slack {
			errs = append(errs, fmt.Errorf("%s: %v, was %v", k, is[k], was[k]))
		}
	}
	return errors.Join(errs...)
}

// mapEntries is the number of entries of each BPF map, by all its labels.
func mapEntries(x *labtest.Exposition) map[string]float64 {
	entries := map[string]float64{}
	for _, s := range x.Series("tcpslo_map_entries", nil) {
		entries[fmt.Sprint(s.Labels)] = s.Value
	}
	return entries
}
