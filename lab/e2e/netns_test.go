// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// pod is what a container is to the exporter: a process that listens in a
// network namespace of its own.
type pod struct {
	ns     *labtest.NetNS
	worker *labtest.Worker
	labels labtest.Labels
}

// podAddr is the address that every pod listens on, each in its namespace.
const podAddr = "127.0.0.1:8080"

func startPod(t *testing.T, backlog int) pod {
	t.Helper()
	ns := labtest.NewNetNS(t)
	return pod{
		ns:     ns,
		worker: labtest.StartWorker(t, ns, labtest.WorkerOptions{Listen: &labtest.ListenOptions{Addr: podAddr, Backlog: backlog}}),
		labels: labtest.Labels{"listener": podAddr, "netns": fmt.Sprint(ns.Inode)},
	}
}

func (p pod) stop() {
	p.worker.Kill()
	p.ns.Close()
}

// waitListed waits until the exporter knows the listener of every pod.
func waitListed(ex *labtest.Exporter, pods []pod) {
	ex.WaitListeners(len(pods), func(l labtest.ListenerInfo) bool {
		for _, p := range pods {
			if l.NetNS == p.labels["netns"] && l.Listener == podAddr && l.PID == p.worker.PID {
				return true
			}
		}
		return false
	})
}

func TestListeners_on_one_port_in_two_namespaces_are_told_apart_by_netns(t *testing.T) {
	ex := start(t)
	pods := []pod{startPod(t, 1), startPod(t, 3)}
	waitListed(ex, pods)
	dials, fits := []int{6, 25}, []int{2, 4}
	var clients [][]*labtest.Conn
	for i, p := range pods {
		conns := labtest.DialMany(t, p.ns, p.worker.Addr, dials[i], labtest.DialOptions{})
		labtest.WaitQueued(t, p.ns, p.worker.Addr, fits[i])
		labtest.ResetAll(conns[fits[i]:])
		clients = append(clients, conns)
	}
	queuesAre := func(waiting func(i int) int, acceptedOf func(i int) int) {
		t.Helper()
		labtest.Settles(t, func() error {
			var errs []error
			for i, p := range pods {
				x, kernel := stillCounts(t, ex, p.ns)
				errs = append(errs,
					atLeast("connections that the kernel dropped", kernel["ListenDrops"], uint64(dials[i]-fits[i])),
					exact(x, "drops", x.Value(listenDrops, p.labels), float64(kernel["ListenDrops"])),
					exact(x, "queued connections", x.Value(queued, p.labels), float64(fits[i])),
					exact(x, "observations of the depth", x.HistogramCount(queueDepth, p.labels), uint64(fits[i])),
					exact(x, "handshakes", x.HistogramCount(handshake, p.labels), uint64(fits[i])),
					same("accept queue", x.Value(queueConnections, p.labels), float64(waiting(i))),
					same("limit", x.Value(queueLimit, p.labels), float64(fits[i]-1)),
					exact(x, "accepted by "+p.worker.Label(), x.Value(accepted, p.labels.With("worker", p.worker.Label())), float64(acceptedOf(i))),
					exact(x, "accept waits", x.HistogramCount(acceptWait, p.labels), uint64(acceptedOf(i))),
					same("series of the address in the exporter's own namespace",
						len(x.AllSeries(labtest.Labels{"listener": podAddr, "netns": ""})), 0),
				)
			}
			return errors.Join(errs...)
		})
	}
	queuesAre(func(i int) int { return fits[i] }, func(int) int { return 0 })
	pods[1].worker.Accept(t, 3)
	queuesAre(func(i int) int { return fits[i] - 3*i }, func(i int) int { return 3 * i })
	for _, conns := range clients {
		labtest.ResetAll(conns)
	}
}

// namespacesHaveCookies asks the kernel for the cookie of the own namespace. Where
// it has none (getsockopt SO_NETNS_COOKIE came with Linux 5.14), nothing tells a
// namespace from one that has just gone and left it its inode, and the counters of
// a listener on the same address go on.
func namespacesHaveCookies(t *testing.T) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		t.Fatal(err)
	}
	return err == nil
}

func TestNamespaces_that_come_and_go_leave_nothing_behind(t *testing.T) {
	const rounds, each = 5, 4
	ex := start(t)
	ex.WaitListener(ex.Addr)
	files, entries := ex.OpenFiles(), mapEntries(ex.Scrape())
	if len(entries) == 0 {
		t.Fatal("tcpslo_map_entries has no series")
	}
	var gone []pod
	for round := range rounds {
		var pods []pod
		for range each {
			pods = append(pods, startPod(t, 16))
		}
		waitListed(ex, pods)
		var earlier [each]float64
		if x := ex.Scrape(); !namespacesHaveCookies(t) {
			for i, p := range pods {
				earlier[i] = x.Value(accepted, p.labels)
			}
		}
		for i, p := range pods {
			conns := labtest.DialMany(t, p.ns, p.worker.Addr, i+1, labtest.DialOptions{})
			p.worker.Accept(t, i+1)
			labtest.ResetAll(conns) // not before: on another CPU the reset may overtake what ends the handshake
		}
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			var errs []error
			for i, p := range pods {
				errs = append(errs, exact(x, fmt.Sprintf("round %d: accepted in namespace %d", round, i), x.Value(accepted, p.labels)-earlier[i], float64(i+1)))
			}
			return errors.Join(errs...)
		})
		for _, p := range pods {
			p.stop()
		}
		gone = append(gone, pods...)
	}
	labtest.EventuallyWithin(t, 40*time.Second, func() error {
		x := ex.Scrape()
		var errs []error
		for _, p := range gone {
			for name, series := range x.AllSeries(labtest.Labels{"netns": p.labels["netns"]}) {
				errs = append(errs, fmt.Errorf("%s still has %d series of namespace %s", name, len(series), p.labels["netns"]))
			}
		}
		// A leak would be one for each of the 20 namespaces at least; of open
		// files, only what is opened once on first use may be more.
		return errors.Join(append(errs,
			grown(files, ex.OpenFiles(), 2),
			grown(entries, mapEntries(x), rounds*each/2),
		)...)
	})
}
