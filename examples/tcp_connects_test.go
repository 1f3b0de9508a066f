// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/bpf/bpftest"
	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// connects copies the example into a folder, compiles it there and returns the
// folder.
func connects(t *testing.T) string {
	t.Helper()
	testenv.NeedRoot(t)
	folder := t.TempDir()
	object := bpftest.CompileFile(t, "tcp_connects/tcp_connects.bpf.c")
	if err := os.WriteFile(filepath.Join(folder, "tcp_connects.bpf.o"), object, 0o644); err != nil {
		t.Fatal(err)
	}
	labtest.CopyFile(t, filepath.Join(folder, "tcp_connects.yaml"), "tcp_connects/tcp_connects.yaml")
	return folder
}

func TestTCP_connects_counts_every_attempt_of_a_program(t *testing.T) {
	ex := startWith(t, connects(t))
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	own := labtest.Labels{"program": strings.TrimSpace(string(comm))}
	before := ex.Scrape() // the exporter is scraped by this program, too
	count := func(x *labtest.Exposition, family, result string) float64 {
		return x.Value("tcpslo_tcp_connects_total", own.With("family", family).With("result", result))
	}
	const accepted4, accepted6, refused = 30, 20, 10
	took := connect(t, "127.0.0.1:0", accepted4) + connect(t, "[::1]:0", accepted6)
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for range refused {
		if c, err := net.Dial("tcp4", gone.Addr().String()); err == nil {
			c.Close()
			t.Fatal("connected to a closed port")
		}
	}

	after := ex.Scrape()
	// Each scrape is one more connection: the second one was there when it was
	// answered, the first one was counted in its own answer.
	const scrapes = 1
	for _, want := range []struct {
		family, result string
		n              float64
	}{{"ipv4", "connected", accepted4 + scrapes}, {"ipv6", "connected", accepted6}, {"ipv4", "refused", refused}, {"ipv6", "refused", 0}} {
		if got := count(after, want.family, want.result) - count(before, want.family, want.result); got != want.n {
			t.Errorf("%s %s: %v attempts, want %v", want.family, want.result, got, want.n)
		}
	}
	const histogram = "tcpslo_tcp_connect_seconds"
	if got := after.HistogramCount(histogram, own) - before.HistogramCount(histogram, own); got != accepted4+accepted6+scrapes {
		t.Errorf("the histogram has %d connections, want %d", got, accepted4+accepted6+scrapes)
	}
	if sum := after.HistogramSum(histogram, own) - before.HistogramSum(histogram, own); sum <= 0 || sum > 2*took.Seconds() {
		t.Errorf("connecting took %v s in the histogram, the test measured %v", sum, took)
	}
	if pending := after.Value("tcpslo_tcp_connects_pending", own); pending != 0 {
		t.Errorf("%v connections are pending, want 0", pending)
	}
}

// connect connects n times to a listener of its own and returns how long that
// took.
func connect(t *testing.T, address string, n int) time.Duration {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	for range n {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	return time.Since(began)
}

// A listener whose accept queue is full answers no SYN, so that the client
// sends it again. The kernel counts those, too.
func TestTCP_connects_counts_each_SYN_that_is_sent_again(t *testing.T) {
	ex := startWith(t, connects(t))
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	own := labtest.Labels{"program": strings.TrimSpace(string(comm))}
	before := labtest.Netstat(t, nil)
	l := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 1})
	labtest.WaitConnected(t, labtest.DialMany(t, nil, l.Addr, 2, labtest.DialOptions{})) // the queue is full
	labtest.DialMany(t, nil, l.Addr, 3, labtest.DialOptions{})
	labtest.Eventually(t, func() error {
		x := ex.Scrape()
		again := labtest.Netstat(t, nil).Since(before)["TCPSynRetrans"]
		got := x.By("tcpslo_tcp_connect_syn_retransmits_total", "state", own)
		if again < 3 || got["loss"] != float64(again) || len(got) != 1 {
			return fmt.Errorf("counted %v, the kernel %d", got, again)
		}
		if pending := x.Value("tcpslo_tcp_connects_pending", own); pending != 3 {
			return fmt.Errorf("%v connections are pending, want 3", pending)
		}
		if oldest := x.Value("tcpslo_tcp_connect_oldest_seconds", nil); oldest < 0.9 {
			return fmt.Errorf("the oldest is %v s old, the first SYN is sent again after 1 s", oldest)
		}
		return nil
	})
}
