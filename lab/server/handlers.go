// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	largeBody     = 1 << 20 // bytes of GET /big
	streamChunks  = 8       // flushes of GET /stream
	maxSlow       = 10 * time.Second
	maxBusy       = 1000
	timeSlice     = 10 * time.Millisecond
	goneWait      = 10 * time.Second      // longest wait of GET /gone for its client to leave
	goneLinger    = 20 * time.Millisecond // how long GET /gone and /wait outlive their client
	hijackTimeout = 2 * time.Second
	deepFrames    = 2000 // of about 600 bytes each: a stack of more than 1 MiB
)

// hello writes a body and leaves the status to the first Write.
func hello(w http.ResponseWriter, r *http.Request) string {
	fmt.Fprintf(w, "hello, %s\n", lastSegment(r.URL.Path))
	return "200"
}

func createItem(w http.ResponseWriter, r *http.Request) string {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return "400"
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "%d bytes\n", n)
	return "201"
}

func readItem(w http.ResponseWriter, r *http.Request) string {
	w.WriteHeader(http.StatusOK)
	fmt.Fprintf(w, "item %s\n", lastSegment(r.URL.Path))
	return "200"
}

func deleteItem(w http.ResponseWriter, _ *http.Request) string {
	w.WriteHeader(http.StatusNoContent)
	return "204"
}

// anyStatus answers with the status asked for, from 200 to 999, the highest
// that WriteHeader takes.
func anyStatus(w http.ResponseWriter, r *http.Request) string {
	code, err := strconv.Atoi(lastSegment(r.URL.Path))
	if err != nil || code < 200 || code > 999 {
		http.Error(w, "status must be 200 to 999", http.StatusBadRequest)
		return "400"
	}
	w.WriteHeader(code)
	return strconv.Itoa(code)
}

// implicit neither writes nor sets a status: net/http makes it 200, after the
// handler has returned.
func implicit(http.ResponseWriter, *http.Request) string { return "200" }

// early sends 103 Early Hints before the answer, where this Go can.
func early(w http.ResponseWriter, _ *http.Request) string {
	w.Header().Set("Link", "</style.css>; rel=preload; as=style")
	sendEarlyHints(w)
	w.WriteHeader(http.StatusOK)
	io.WriteString(w, "late\n")
	return "200"
}

// slow sleeps for the milliseconds in the query parameter ms, 10 s at most.
func slow(w http.ResponseWriter, r *http.Request) string {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	wait := time.Duration(ms) * time.Millisecond
	if err != nil || wait < 0 || wait > maxSlow {
		http.Error(w, "ms must be 0 to 10000", http.StatusBadRequest)
		return "400"
	}
	time.Sleep(wait)
	fmt.Fprintf(w, "slept %s\n", wait)
	return "200"
}

// busy answers, and leaves behind as many goroutines as the query parameter n says, each
// of which keeps a processor busy for the time of one time slice (src/runtime/proc.go,
// forcePreemptNS).
func busy(w http.ResponseWriter, r *http.Request) string {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > maxBusy {
		http.Error(w, "n must be 0 to 1000", http.StatusBadRequest)
		return "400"
	}
	for i := 0; i < n; i++ {
		go func() {
			for began := time.Now(); time.Since(began) < timeSlice; {
			}
		}()
	}
	fmt.Fprintf(w, "%d goroutines are busy\n", n)
	return "200"
}

func stream(w http.ResponseWriter, _ *http.Request) string {
	for i := 0; i < streamChunks; i++ {
		fmt.Fprintf(w, "chunk %d\n", i)
		w.(http.Flusher).Flush()
	}
	return "200"
}

func large(w http.ResponseWriter, _ *http.Request) string {
	w.Header().Set("Content-Length", strconv.Itoa(largeBody))
	w.Write(bytes.Repeat([]byte{'x'}, largeBody))
	return "200"
}

// deep moves the goroutine's stack twice while the handler runs: it grows under
// the recursion and the collector shrinks it again. Whoever keys on an address in
// the stack loses this request.
func deep(w http.ResponseWriter, _ *http.Request) string {
	sum := recurse(deepFrames)
	runtime.GC()
	fmt.Fprintf(w, "%d\n", sum)
	return "200"
}

//go:noinline
func recurse(n int) int {
	var frame [512]byte
	frame[n%len(frame)] = 1
	if n == 0 {
		return 0
	}
	return recurse(n-1) + int(frame[n%len(frame)])
}

// gone answers, so that the client knows that its request arrived, and then
// outlives the client.
func gone(w http.ResponseWriter, r *http.Request) string {
	io.WriteString(w, "you may leave\n")
	w.(http.Flusher).Flush()
	select {
	case <-r.Context().Done():
	case <-time.After(goneWait):
	}
	time.Sleep(goneLinger)
	return "200"
}

// goroutine answers with the number of the goroutine that runs it, after the
// milliseconds in the query parameter ms.
func goroutine(w http.ResponseWriter, r *http.Request) string {
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	time.Sleep(time.Duration(ms) * time.Millisecond)
	stack := make([]byte, 64)
	stack = stack[:runtime.Stack(stack, false)]
	io.WriteString(w, strings.Fields(string(stack))[1]) // goroutine 18 [running]:
	return "200"
}

func panics(http.ResponseWriter, *http.Request) string { panic("on purpose") }

func aborts(http.ResponseWriter, *http.Request) string { panic(http.ErrAbortHandler) }

// recovered panics below a middleware that turns a panic into a 500.
func recovered(w http.ResponseWriter, r *http.Request) (status string) {
	defer func() {
		if recover() != nil {
			http.Error(w, "recovered", http.StatusInternalServerError)
			status = "500"
		}
	}()
	return panics(w, r)
}

// hijack takes the connection over, answers 101 by itself, echoes one line and
// closes. HTTP/2 has no hijacking: there the answer is 501.
func hijack(w http.ResponseWriter, _ *http.Request) string {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "this connection cannot be hijacked", http.StatusNotImplemented)
		return "501"
	}
	conn, buf, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return "500"
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(hijackTimeout))
	buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	buf.Flush()
	// A client that left early is still a hijacked request.
	if line, err := buf.ReadString('\n'); err == nil {
		buf.WriteString(line)
		buf.Flush()
	}
	return "hijacked"
}

func writeJSON(w http.ResponseWriter, value interface{}) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
