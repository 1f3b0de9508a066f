// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the tls probe.
const (
	tlsHandshake = "tcpslo_tls_handshake_seconds"
	tlsInFlight  = "tcpslo_tls_handshakes_in_flight"
)

// handshakes are counted by the labels that tell them apart.
type handshakes map[handshakeLabels]uint64

type handshakeLabels struct{ version, resumed, result string }

// total is the number of all handshakes.
func (h handshakes) total() (n uint64) {
	for _, of := range h {
		n += of
	}
	return n
}

// differences compares with what the exporter says of a service.
func (h handshakes) differences(x *labtest.Exposition, service string) error {
	got := handshakes{}
	for _, s := range x.Series(tlsHandshake, labtest.Labels{"service": service}) {
		got[handshakeLabels{s.Labels["version"], s.Labels["resumed"], s.Labels["result"]}] += s.Histogram.GetSampleCount()
	}
	errs := []error{exact(x, "handshakes", got.total(), h.total())}
	for key, n := range h {
		errs = append(errs, exact(x, fmt.Sprintf("handshakes %v", key), got[key], n))
	}
	return errors.Join(errs...)
}

var versionNames = map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}

// shake makes a connection with one handshake and one request, and counts what the
// client saw of it.
func (h handshakes) shake(t *testing.T, addr string, config *tls.Config) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	h[handshakeLabels{versionNames[state.Version], fmt.Sprint(state.DidResume), "ok"}]++
	if _, err := io.WriteString(conn, "GET /hello/tls HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// TLS 1.3 sends the ticket to resume with behind the handshake.
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
}

// fail wants a handshake not to succeed.
func (h handshakes) fail(t *testing.T, addr, version string, config *tls.Config) {
	t.Helper()
	if conn, err := tls.Dial("tcp", addr, config); err == nil {
		conn.Close()
		t.Fatal("the handshake has succeeded")
	}
	h[handshakeLabels{version, "false", "error"}]++
}

// open connects and sends what is no ClientHello, or nothing.
func open(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_, err = io.WriteString(conn, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestTLS_handshakes_are_counted_as_the_client_counts_them_with_two_hits_each(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-tls"}})
	service := ex.WaitAttached(server.PID).Name
	addr := server.Listen[0]
	hits := func(x *labtest.Exposition, program string) uint64 {
		return uint64(x.Value("tcpslo_probe_hits_total", labtest.Labels{"probe": "tls", "program": program}))
	}
	before := ex.Scrape()
	want := handshakes{}
	began := time.Now()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		trusting := &tls.Config{MinVersion: version, MaxVersion: version, InsecureSkipVerify: true}
		for range 6 {
			want.shake(t, addr, trusting)
		}
		resuming := trusting.Clone()
		resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for range 4 {
			want.shake(t, addr, resuming)
		}
		// The client goes when it sees the certificate: the two have agreed on the version.
		for range 2 {
			want.fail(t, addr, versionNames[version], &tls.Config{MinVersion: version, MaxVersion: version, ServerName: "localhost"})
		}
	}
	for range 3 {
		want.fail(t, addr, "none", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true})
	}
	// Other tests run TLS servers, so the probe is in the executable of this one, too, where
	// the clients' handshakes end.
	asClient := want.total()
	for range 5 {
		conn := open(t, addr, "GET / HTTP/1.0\r\n\r\n")
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		want[handshakeLabels{"none", "false", "error"}]++
	}
	atMost := time.Since(began).Seconds()
	for _, version := range []string{"1.2", "1.3"} {
		if full, resumed := want[handshakeLabels{version, "false", "ok"}], want[handshakeLabels{version, "true", "ok"}]; full != 7 || resumed != 3 {
			t.Errorf("the client made %d full and %d resumed handshakes of TLS %s, want 7 and 3", full, resumed, version)
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		sum := x.HistogramSum(tlsHandshake, labtest.Labels{"service": service})
		if sum <= 0 || sum > atMost {
			return fmt.Errorf("handshakes add up to %v s, want more than 0 and at most the %v s of all connections", sum, atMost)
		}
		return errors.Join(
			want.differences(x, service),
			exact(x, "hits at the start", hits(x, "handshake_entry")-hits(before, "handshake_entry"), want.total()),
			exact(x, "hits at the end", hits(x, "handshake_end")-hits(before, "handshake_end"), want.total()+asClient),
			same("handshakes in flight", x.Value(tlsInFlight, labtest.Labels{"service": service}), 0),
			same("events lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "tls"}), 0),
		)
	})
}

func TestTLS_handshakes_take_as_long_as_the_client_lets_the_server_wait(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-tls"}})
	labels := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	const n, pause = 4, 110 * time.Millisecond
	began := time.Now()
	var silent []net.Conn
	for range n {
		silent = append(silent, open(t, server.Listen[0], ""))
	}
	labtest.Eventually(t, func() error {
		return same("handshakes in flight", ex.Scrape().Value(tlsInFlight, labels), n)
	})
	time.Sleep(pause)
	silent[0].Close()
	for _, conn := range silent[1:] {
		client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	atMost := time.Since(began).Seconds() * n
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		buckets, sum := x.HistogramBuckets(tlsHandshake, labels), x.HistogramSum(tlsHandshake, labels)
		if sum < n*pause.Seconds() || sum > atMost {
			return fmt.Errorf("handshakes add up to %v s, want %v to %v", sum, n*pause.Seconds(), atMost)
		}
		return errors.Join(
			exact(x, "handshakes", x.HistogramCount(tlsHandshake, labels), n),
			exact(x, "that succeeded", x.HistogramCount(tlsHandshake, labels.With("result", "ok").With("version", "1.3")), n-1),
			exact(x, "that failed", x.HistogramCount(tlsHandshake, labels.With("result", "error").With("version", "none")), 1),
			same("handshakes of at most 0.1024 s", buckets[0.1024], 0),
			same("handshakes in flight", x.Value(tlsInFlight, labels), 0),
		)
	})
}

func TestTLS_handshakes_of_a_server_that_was_killed_are_not_in_flight_for_ever(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-tls"}})
	labels := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	for range 3 {
		defer open(t, server.Listen[0], "").Close()
	}
	entries := func(x *labtest.Exposition) float64 {
		return x.Value("tcpslo_map_entries", labtest.Labels{"probe": "tls", "map": "handshakes_in_flight"})
	}
	labtest.Eventually(t, func() error {
		x := ex.Scrape()
		return errors.Join(same("handshakes in flight", x.Value(tlsInFlight, labels), 3), atLeast("entries", entries(x), 3))
	})
	server.Kill()
	labtest.Eventually(t, func() error {
		x := ex.Scrape()
		return errors.Join(same("handshakes in flight", x.Value(tlsInFlight, labels), 0), same("entries", entries(x), 0))
	})
}
