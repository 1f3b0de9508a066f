// SPDX-License-Identifier: Apache-2.0

// Command serverxnet serves HTTP/2 without TLS as programs did before Go 1.24:
// by golang.org/x/net/http2, whose streams do not pass net/http's own
// serverHandler. It has some of the routes of lab/server.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	})
	mux.HandleFunc("GET /implicit", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("asked to") })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ready := map[string]any{"pid": os.Getpid(), "listen": []string{listener.Addr().String()}}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, h2c.NewHandler(mux, &http2.Server{})))
}
