// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// userHz is in what /proc/stat counts, on every architecture that Go runs on.
const userHz = 100

// workload is work that keeps the network stack of the whole machine busy and no
// Go server that is observed.
type workload struct {
	name, unit string
	n          int // how many units are one round
	rate       int // a second, for which the cost is told
	run        func(n int) error
}

var workloads = []workload{
	{"UDP datagrams of 64 bytes", "packet", 400_000, 100_000, sendDatagrams},
	{"TCP writes of 1 KiB, each read at once", "packet", 100_000, 100_000, streamWrites},
	{"TCP connections, accepted and closed", "connection", 20_000, 50_000, acceptAndClose},
}

// wholeHost measures what observing costs the whole machine: processor time of all
// processes and of the kernel, for the same work with and without the exporter.
func wholeHost(ctx context.Context, b *bench) (section, error) {
	found := make([]comparison, len(workloads))
	for round := range b.rounds {
		for _, on := range []bool{round%2 == 1, round%2 == 0} {
			if err := hostRound(ctx, b, on, found); err != nil {
				return section{}, err
			}
		}
	}
	s := section{title: "The whole machine with and without the exporter"}
	t := table{header: []string{"work", ">rounds of", ">off", ">on", ">on ÷ off", ">quartiles of the rounds", ">at a rate of", ">costs, of one core"}}
	for i, w := range workloads {
		c := found[i]
		low, high := c.spread()
		cost := (median(c.on) - median(c.off)) * float64(w.rate)
		share := fmt.Sprintf("%.0f %%", 100*cost)
		t.add(w.name, strconv.Itoa(w.n), microseconds(median(c.off)), microseconds(median(c.on)), fmt.Sprintf("%.3f", c.ratio()),
			fmt.Sprintf("%.3f – %.3f", low, high), fmt.Sprintf("%d %ss/s", w.rate, w.unit), share)
		s.figures = append(s.figures, figure{
			fmt.Sprintf("the whole machine, processor time of a %s, on ÷ off (%s)", w.unit, w.name),
			fmt.Sprintf("%.3f (%s → %s)", c.ratio(), microseconds(median(c.off)), microseconds(median(c.on))), "",
		})
	}
	s.body = t.markdown() + fmt.Sprintf("\nProcessor time of the whole machine by /proc/stat, divided by the units of work, over loopback; %d rounds. All collectors run,\n"+
		"and nothing is scraped meanwhile. The last column is the difference at that rate.\n", b.rounds)
	return s, nil
}

func hostRound(ctx context.Context, b *bench, on bool, found []comparison) (err error) {
	if on {
		e, err := startExporter(ctx, b.tools.exporter)
		if err != nil {
			return err
		}
		defer func() { err = e.finish(err) }()
	}
	for i, w := range workloads {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.run(w.n / 20); err != nil { // warm up
			return fmt.Errorf("%s: %w", w.name, err)
		}
		before, err := machineTime()
		if err != nil {
			return err
		}
		if err := w.run(w.n); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		after, err := machineTime()
		if err != nil {
			return err
		}
		each := (after - before).Seconds() / float64(w.n)
		if on {
			found[i].on = append(found[i].on, each)
		} else {
			found[i].off = append(found[i].off, each)
		}
	}
	return nil
}

// machineTime is for how long the machine's processors have not been idle, from
// the first line of /proc/stat (proc_stat(5)).
func machineTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	var busy int64
	for i, field := range fields[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 && i != 7 {
			busy += n
		}
	}
	return time.Duration(busy) * time.Second / userHz, nil
}

// sendDatagrams sends n datagrams to a socket that reads them, a few at a time so
// that none is dropped.
func sendDatagrams(n int) error {
	receiver, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer receiver.Close()
	sender, err := net.DialUDP("udp4", nil, receiver.LocalAddr().(*net.UDPAddr))
	if err != nil {
		return err
	}
	defer sender.Close()
	packet, buffer := make([]byte, 64), make([]byte, 64)
	if err := receiver.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	const burst = 64
	for sent := 0; sent < n; sent += burst {
		for range burst {
			if _, err := sender.Write(packet); err != nil {
				return err
			}
		}
		for range burst {
			if _, err := receiver.Read(buffer); err != nil {
				return err
			}
		}
	}
	return nil
}

// streamWrites writes n KiB over a connection, one at a time, and reads each
// before the next.
func streamWrites(n int) error {
	return overLoopback(func(listener net.Listener) error {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := listener.Accept()
		if err != nil {
			return err
		}
		defer server.Close()
		block := make([]byte, 1<<10)
		for range n {
			if _, err := client.Write(block); err != nil {
				return err
			}
			if _, err := io.ReadFull(server, block); err != nil {
				return err
			}
		}
		return nil
	})
}

// acceptAndClose makes n connections, one after the other. The client resets
// them, so that none stays in TIME_WAIT.
func acceptAndClose(n int) error {
	return overLoopback(func(listener net.Listener) error {
		accepted := make(chan error, 1)
		var serving sync.WaitGroup
		serving.Go(func() {
			for range n {
				conn, err := listener.Accept()
				if err != nil {
					accepted <- err
					return
				}
				conn.Close()
			}
			accepted <- nil
		})
		defer serving.Wait()
		for range n {
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				listener.Close()
				return errors.Join(err, <-accepted)
			}
			err = errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close())
			if err != nil {
				listener.Close()
				return errors.Join(err, <-accepted)
			}
		}
		return <-accepted
	})
}

func overLoopback(do func(net.Listener) error) error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	return do(listener)
}
