// SPDX-License-Identifier: Apache-2.0

// Command server is the executable that goexe's tests take apart: a net/http
// server with everything that the exporter looks for linked in (mux, TLS, both
// HTTP/2 servers, h2c, hijack, panics). It compiles with every Go release from
// 1.18 on, so it uses nothing newer.
//
// "server" serves until it is killed. "server profile FILE" asks itself requests
// for a moment and writes the CPU profile of that to FILE, which is what a
// profile-guided build needs. "server addresses" prints where the itabs of its
// interface values are and where its main function is.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime/pprof"
	"time"
	"unsafe"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// The ways in which a connection may wrap another one. Nobody serves them.
type (
	embedding struct {
		name string
		net.Conn
	}
	byValue struct {
		name string
		net.Conn
	}
	direct struct{ *net.TCPConn }
	typed  struct {
		name string
		*tls.Conn
	}
	nested struct {
		hidden
		inner struct {
			name string
			conn net.Conn
		}
	}
	named  struct{ namedConn }
	logged struct {
		log net.Conn
		net.Conn
	}
	torn struct {
		hidden
		log, conn net.Conn
	}
	hidden struct{ conn func() net.Conn }

	namedConn interface {
		net.Conn
		Name() string
	}
)

func (e *embedding) Name() string { return e.name }

func (h hidden) Read(b []byte) (int, error)         { return h.conn().Read(b) }
func (h hidden) Write(b []byte) (int, error)        { return h.conn().Write(b) }
func (h hidden) Close() error                       { return h.conn().Close() }
func (h hidden) LocalAddr() net.Addr                { return h.conn().LocalAddr() }
func (h hidden) RemoteAddr() net.Addr               { return h.conn().RemoteAddr() }
func (h hidden) SetDeadline(t time.Time) error      { return h.conn().SetDeadline(t) }
func (h hidden) SetReadDeadline(t time.Time) error  { return h.conn().SetReadDeadline(t) }
func (h hidden) SetWriteDeadline(t time.Time) error { return h.conn().SetWriteDeadline(t) }

// wrappers keeps them in the executable.
var wrappers []net.Conn

func main() {
	wrappers = []net.Conn{
		&embedding{}, byValue{}, direct{}, &typed{}, &nested{}, &named{&embedding{}}, &logged{}, &torn{}, hidden{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", hello)
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/hijack", hijack)
	mux.HandleFunc("/addresses", addresses)

	plain := &http.Server{
		Handler:           h2c.NewHandler(mux, &http2.Server{}),
		ReadTimeout:       5 * time.Second,
		ReadHeaderTimeout: 2 * time.Second,
		WriteTimeout:      5 * time.Second,
		IdleTimeout:       time.Minute,
		ConnContext:       printConn,
	}
	secure := &http.Server{
		Handler:     mux,
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{certificate()}},
		ConnContext: printConn,
	}

	plainListener, secureListener := listen(), listen()
	fmt.Println("http", plainListener.Addr())
	fmt.Println("https", secureListener.Addr())
	go func() { log.Fatal(plain.Serve(plainListener)) }()
	go func() { log.Fatal(secure.ServeTLS(secureListener, "", "")) }()

	plainURL, secureURL := "http://"+plainListener.Addr().String(), "https://"+secureListener.Addr().String()
	switch {
	case len(os.Args) == 3 && os.Args[1] == "profile":
		profile(os.Args[2], plainURL+"/hello")
	case len(os.Args) == 2 && os.Args[1] == "addresses":
		printAddresses = true
		fmt.Printf("function main.main %#x\n", reflect.ValueOf(main).Pointer())
		printItab("net.Listener", plainListener, unsafe.Pointer(&plainListener))
		get(http.DefaultClient, plainURL+"/addresses")
		get(&http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it is this process
		}}, secureURL+"/addresses")
		get(&http.Client{Transport: &http2.Transport{
			AllowHTTP: true,
			DialTLS:   func(network, address string, _ *tls.Config) (net.Conn, error) { return net.Dial(network, address) },
		}}, plainURL+"/addresses")
	default:
		select {}
	}
}

// printAddresses is set before the first request.
var printAddresses bool

func addresses(w http.ResponseWriter, _ *http.Request) {
	printItab("net/http.ResponseWriter", w, unsafe.Pointer(&w))
}

func printConn(ctx context.Context, conn net.Conn) context.Context {
	printItab("net.Conn", conn, unsafe.Pointer(&conn))
	return ctx
}

// printItab prints the first word of a non-empty interface value, which value
// points to; content is that value again.
func printItab(iface string, content interface{}, value unsafe.Pointer) {
	if !printAddresses {
		return
	}
	concrete, star := reflect.TypeOf(content), ""
	if concrete.Kind() == reflect.Ptr {
		concrete, star = concrete.Elem(), "*"
	}
	fmt.Printf("itab %s%s.%s %s %#x\n", star, concrete.PkgPath(), concrete.Name(), iface, *(*uintptr)(value))
}

func get(client *http.Client, url string) {
	resp, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "hello %s\n", r.URL.Path)
}

func hijack(w http.ResponseWriter, _ *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "not hijackable", http.StatusInternalServerError)
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		log.Print(err)
		return
	}
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	conn.Close()
}

// profile asks url for two seconds, from this process itself, while its CPU
// profile is taken.
func profile(path, url string) {
	f, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		log.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		get(http.DefaultClient, url)
	}
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return l
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
