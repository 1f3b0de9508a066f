// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"strconv"
	"sync"
)

// maxLeak bounds what one request may leave behind.
const maxLeak = 10000

// leak leaves behind as many goroutines as the query parameter n says, which wait
// for what never comes.
func leak(w http.ResponseWriter, r *http.Request) string {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > maxLeak {
		http.Error(w, fmt.Sprintf("n must be 0 to %d", maxLeak), http.StatusBadRequest)
		return "400"
	}
	never := make(chan struct{})
	for i := 0; i < n; i++ {
		go receive(never)
	}
	fmt.Fprintf(w, "%d goroutines left behind\n", n)
	return "200"
}

func receive(never <-chan struct{}) { <-never }

// forgotten keeps connections that nobody serves: without a reference, the garbage
// collector would close them.
var forgotten struct {
	sync.Mutex
	connections []net.Conn
}

// takeOver hijacks the connection and answers; nil if it can't.
func takeOver(w http.ResponseWriter) net.Conn {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil
	}
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: nothing\r\n\r\n")
	return conn
}

// forget takes the connection over and forgets it.
func forget(w http.ResponseWriter, _ *http.Request) string {
	conn := takeOver(w)
	if conn == nil {
		return "500"
	}
	forgotten.Lock()
	forgotten.connections = append(forgotten.connections, conn)
	forgotten.Unlock()
	return "hijacked"
}

// abandon hands the connection to a goroutine that has no eye for its client.
func abandon(w http.ResponseWriter, _ *http.Request) string {
	conn := takeOver(w)
	if conn == nil {
		return "500"
	}
	go func() {
		defer conn.Close()
		receive(make(chan struct{}))
	}()
	return "hijacked"
}

// opened keeps files that nobody closes.
var opened struct {
	sync.Mutex
	files []*os.File
}

// openFile opens a file and forgets it.
func openFile(w http.ResponseWriter, _ *http.Request) string {
	file, err := os.Open(os.DevNull)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return "500"
	}
	opened.Lock()
	opened.files = append(opened.files, file)
	opened.Unlock()
	return "200"
}

// stuck answers and does not return, whether its client stays or not.
func stuck(w http.ResponseWriter, _ *http.Request) string {
	io.WriteString(w, "stuck\n")
	w.(http.Flusher).Flush()
	select {}
}

// goroutines answers GET /-/goroutines with the traceback of each goroutine, as a
// panic prints it.
func goroutines(w http.ResponseWriter, _ *http.Request) {
	pprof.Lookup("goroutine").WriteTo(w, 2)
}
