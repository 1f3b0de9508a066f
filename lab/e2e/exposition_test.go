// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"maps"
	"os/exec"
	"slices"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// busyListener is a listener on which every metric of the listen and accept
// probes has something to say: n connections accepted, two more waiting.
func busyListener(t *testing.T, ex *labtest.Exporter, n int) *labtest.Listener {
	t.Helper()
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	labtest.DialMany(t, nil, l.Addr, n+2, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, n+2)
	l.MustAccept(t, n)
	labtest.Eventually(t, func() error {
		return same("accepted", ex.Scrape().Value(accepted, at(l.Addr)), float64(n))
	})
	return l
}

func TestPromtool_finds_no_fault_with_the_metrics(t *testing.T) {
	ex := start(t)
	promtool := testenv.Need(t, "promtool", "prometheus")
	busyListener(t, ex, 10)
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(ex.Scrape().Raw)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestMetrics_of_a_listener_have_the_labels_of_the_contract(t *testing.T) {
	ex := start(t)
	l := busyListener(t, ex, 3)
	x := ex.Scrape()
	for name, own := range map[string][]string{
		queueConnections: nil,
		queueLimit:       nil,
		queueDepth:       nil,
		synRequests:      nil,
		listenDrops:      {"reason"},
		queued:           {"cpu"},
		accepted:         {"worker"},
		acceptWait:       nil,
		handshake:        nil,
	} {
		want := slices.Sorted(slices.Values(append(own, "listener", "netns", "service")))
		series := x.Series(name, at(l.Addr))
		if len(series) == 0 {
			t.Errorf("%s has no series of the listener", name)
		}
		for _, s := range series {
			if have := slices.Sorted(maps.Keys(s.Labels)); !slices.Equal(have, want) {
				t.Errorf("%s has labels %v, want %v", name, have, want)
			}
		}
	}
}

func TestProtobuf_scrape_has_classic_and_native_buckets_that_agree(t *testing.T) {
	ex := start(t)
	const n = 25
	l := busyListener(t, ex, n)
	for name, want := range map[string]uint64{acceptWait: n, handshake: n + 2, queueDepth: n + 2} {
		t.Run(name, func(t *testing.T) {
			x := ex.ScrapeProtobuf()
			series := x.Series(name, at(l.Addr))
			if len(series) != 1 || series[0].Histogram == nil {
				t.Fatalf("%d series, want one histogram", len(series))
			}
			h := series[0].Histogram
			native, err := labtest.NativeCount(h)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(
				exact(x, "sample count", h.GetSampleCount(), want),
				same("native buckets together", native, h.GetSampleCount()),
				same("native schema", h.GetSchema(), 3),
				same("has classic buckets", len(h.Bucket) > 1, true),
			); err != nil {
				t.Error(err)
			}
			last := uint64(0)
			for _, b := range h.Bucket {
				if b.GetCumulativeCount() < last {
					t.Errorf("bucket %v holds %d, less than the %d before it", b.GetUpperBound(), b.GetCumulativeCount(), last)
				}
				last = b.GetCumulativeCount()
			}
			if last > h.GetSampleCount() {
				t.Errorf("the last bucket holds %d of %d", last, h.GetSampleCount())
			}
		})
	}
}
