// SPDX-License-Identifier: Apache-2.0

// Command reader is a TCP server of a given appetite: it reads so many bytes at
// a time, so often, and answers each read. It makes its system calls itself and
// counts them, so that a test knows what an exporter must have counted. What it
// shows is why a server that reads 1 KiB at a time has its receive window shut
// by a client that one which reads 8 KiB at a time keeps up with.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	listen, counts string
	size, reply    int
	pause          time.Duration

	peek, splice, cork bool
}

// Counts are the system calls of all connections so far. Calls are all of a kind,
// with those that found nothing to do.
type Counts struct {
	Reads      int `json:"reads"` // that returned data
	Bytes      int `json:"bytes"` // that they returned
	ReadCalls  int `json:"read_calls"`
	Writes     int `json:"writes"`  // that took data
	Written    int `json:"written"` // bytes that they took
	WriteCalls int `json:"write_calls"`
	Spliced    int `json:"spliced"` // bytes that were moved without a read
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to listen on")
	flag.StringVar(&o.counts, "counts", "", "`file` to write counts to, as JSON, whenever a connection ends")
	flag.IntVar(&o.size, "size", 4096, "`bytes` to read at a time")
	flag.IntVar(&o.reply, "reply", 0, "`bytes` to answer each read with")
	flag.DurationVar(&o.pause, "pause", 0, "time to sleep before each read")
	flag.BoolVar(&o.peek, "peek", false, "peek at the data before each pause")
	flag.BoolVar(&o.splice, "splice", false, "move data to a pipe with splice(2) instead, every second time")
	flag.BoolVar(&o.cork, "cork", false, "set TCP_CORK: a small answer leaves 200 ms later")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ready := map[string]any{"pid": os.Getpid(), "listen": []string{l.Addr().String()}}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return fmt.Errorf("report address: %w", err)
	}
	var total Counts
	var mu sync.Mutex
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			own, err := serve(c.(*net.TCPConn), o)
			mu.Lock()
			defer mu.Unlock()
			total.Reads += own.Reads
			total.Bytes += own.Bytes
			total.ReadCalls += own.ReadCalls
			total.Writes += own.Writes
			total.Written += own.Written
			total.WriteCalls += own.WriteCalls
			total.Spliced += own.Spliced
			if err == nil && o.counts != "" {
				err = write(o.counts, total)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "reader:", err)
			}
		}()
	}
}

// serve reads until the client has closed its side.
func serve(conn *net.TCPConn, o options) (Counts, error) {
	defer conn.Close()
	var c Counts
	raw, err := conn.SyscallConn()
	if err != nil {
		return c, err
	}
	if o.cork {
		if err := raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_CORK, 1) }); err != nil {
			return c, err
		}
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return c, err
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	buffer, answer := make([]byte, o.size), make([]byte, o.reply)
	for round := 0; ; round++ {
		if o.peek {
			_, err := try(raw.Read, &c.ReadCalls, func(fd int) (int, error) {
				n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_PEEK)
				return n, err
			})
			if err != nil {
				return c, fmt.Errorf("peek: %w", err)
			}
		}
		time.Sleep(o.pause)
		var n int
		if o.splice && round%2 == 1 {
			n, err = spliceAway(raw, pipe, buffer)
			c.Spliced += n
		} else {
			n, err = try(raw.Read, &c.ReadCalls, func(fd int) (int, error) { return unix.Read(fd, buffer) })
			if n > 0 {
				c.Reads++
				c.Bytes += n
			}
		}
		if err != nil || n == 0 {
			return c, err
		}
		for left := answer; len(left) > 0; {
			n, err := try(raw.Write, &c.WriteCalls, func(fd int) (int, error) { return unix.Write(fd, left) })
			if err != nil {
				return c, fmt.Errorf("write: %w", err)
			}
			c.Writes++
			c.Written += n
			left = left[n:]
		}
	}
}

// spliceAway takes data off the connection without reading it.
func spliceAway(raw syscall.RawConn, pipe [2]int, buffer []byte) (n int, err error) {
	var calls int
	n, err = try(raw.Read, &calls, func(fd int) (int, error) {
		n, err := unix.Splice(fd, nil, pipe[1], nil, len(buffer), unix.SPLICE_F_NONBLOCK)
		return int(n), err
	})
	if err != nil || n == 0 {
		return 0, err
	}
	_, err = unix.Read(pipe[0], buffer)
	return n, err
}

// try makes a system call when the runtime's poller says that it may succeed,
// until it does.
func try(wait func(func(uintptr) bool) error, calls *int, call func(fd int) (int, error)) (n int, err error) {
	waiting := wait(func(fd uintptr) bool {
		*calls++
		n, err = call(int(fd))
		return err != unix.EAGAIN
	})
	if waiting != nil {
		return 0, waiting
	}
	return max(n, 0), err
}

// write replaces the file at once, so that whoever reads it meets all of it.
func write(path string, counts Counts) error {
	text, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
