// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// The ways in which services wrap their connections.
type (
	// wrapped is what limiting and counting listeners return.
	wrapped struct {
		name string
		net.Conn
	}
	// byValue is no pointer: an interface holds a pointer to a copy.
	byValue struct {
		name string
		net.Conn
	}
	// direct is one pointer, which an interface holds itself.
	direct struct{ *net.TCPConn }
	// typed holds what it knows the type of.
	typed struct {
		name string
		*net.TCPConn
	}
	// nested holds a struct that holds the connection.
	nested struct {
		name  string
		inner struct {
			name string
			conn net.Conn
		}
		hidden
	}
	// named holds an interface of its own.
	named struct{ namedConn }
	// namedConn has more methods than net.Conn.
	namedConn interface {
		net.Conn
		Name() string
	}
	// logged holds two connections, of which one is its own nature.
	logged struct {
		log net.Conn
		net.Conn
	}
	// torn holds two connections, of which nobody knows the right one.
	torn struct {
		hidden
		log, conn net.Conn
	}
	// decoy begins as net.TCPConn does, with a pointer to what has the descriptor of
	// another connection where a net.netFD has its own.
	decoy struct {
		fd *decoyFD
		net.Conn
	}
	decoyFD struct {
		_     [16]byte
		sysfd int
		_     [16]int
	}
	// endless holds itself where others hold what they wrap.
	endless struct {
		hidden
		next net.Conn
	}
	// hidden has no field that is a connection.
	hidden struct{ conn func() net.Conn }
)

func (w *wrapped) Name() string { return w.name }

func (h hidden) Read(b []byte) (int, error)         { return h.conn().Read(b) }
func (h hidden) Write(b []byte) (int, error)        { return h.conn().Write(b) }
func (h hidden) Close() error                       { return h.conn().Close() }
func (h hidden) LocalAddr() net.Addr                { return h.conn().LocalAddr() }
func (h hidden) RemoteAddr() net.Addr               { return h.conn().RemoteAddr() }
func (h hidden) SetDeadline(t time.Time) error      { return h.conn().SetDeadline(t) }
func (h hidden) SetReadDeadline(t time.Time) error  { return h.conn().SetReadDeadline(t) }
func (h hidden) SetWriteDeadline(t time.Time) error { return h.conn().SetWriteDeadline(t) }

func hide(conn net.Conn) hidden { return hidden{func() net.Conn { return conn }} }

// wrapTimes wraps a connection n times.
func wrapTimes(n int) func(net.Conn) net.Conn {
	return func(conn net.Conn) net.Conn {
		for range n {
			conn = &wrapped{"wrapped", conn}
		}
		return conn
	}
}

// wrapper is a listener that wraps what another one accepts.
type wrapper struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapper) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(conn), nil
}

func TestWrapped_connection_has_all_stages_if_a_field_leads_to_its_socket(t *testing.T) {
	ex := start(t)
	borrowed := httptest.NewTLSServer(nil)
	borrowed.Close()
	other := labtest.Dial(t, nil, netip.MustParseAddrPort(ex.Addr), labtest.DialOptions{})
	otherConn, err := net.Dial("tcp", ex.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer otherConn.Close()
	secure := func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: borrowed.TLS.Certificates})
	}
	wrapping := func(wrap func(net.Conn) net.Conn) func(net.Listener) net.Listener {
		return func(l net.Listener) net.Listener { return wrapper{l, wrap} }
	}
	all, handlerOnly := []uint64{1, 1, 5, 5, 5, 5, 5}, []uint64{0, 0, 0, 0, 5, 0, 0}
	for _, c := range []struct {
		sentence string
		tls      bool
		listen   func(net.Listener) net.Listener
		want     []uint64 // in the order of the stages
	}{
		{"a pointer to a struct with an embedded net.Conn", false, wrapping(wrapTimes(1)), all},
		{"a wrapper in a wrapper", false, wrapping(wrapTimes(2)), all},
		{"as many wrappers as are followed", false, wrapping(wrapTimes(7)), all},
		{"one more", false, wrapping(wrapTimes(8)), handlerOnly},
		{"a wrapper around TLS", true, func(l net.Listener) net.Listener { return wrapping(wrapTimes(1))(secure(l)) }, all},
		{"TLS around a wrapper", true, func(l net.Listener) net.Listener { return secure(wrapping(wrapTimes(1))(l)) }, all},
		{"a struct in a struct", false, wrapping(func(conn net.Conn) net.Conn {
			n := &nested{hidden: hide(conn)}
			n.inner.conn = conn
			return n
		}), all},
		{"a struct", false, wrapping(func(conn net.Conn) net.Conn { return byValue{"by value", conn} }), all},
		{"a struct that is one pointer", false, wrapping(func(conn net.Conn) net.Conn { return direct{conn.(*net.TCPConn)} }), all},
		{"a pointer to a known type", false, wrapping(func(conn net.Conn) net.Conn { return &typed{"typed", conn.(*net.TCPConn)} }), all},
		{"an interface of its own", false, wrapping(func(conn net.Conn) net.Conn { return &named{&wrapped{"in", conn}} }), all},
		{"an interface whose itab the runtime makes", false, wrapping(func(conn net.Conn) net.Conn {
			return &named{any(wrapTimes(1)(conn)).(namedConn)}
		}), all},
		{"an embedded connection beside another one", false, wrapping(func(conn net.Conn) net.Conn { return &logged{otherConn, conn} }), all},
		{"what looks like a connection beside one", false, wrapping(func(conn net.Conn) net.Conn {
			return &decoy{&decoyFD{sysfd: other.FD}, conn}
		}), all},
		{"two connections", false, wrapping(func(conn net.Conn) net.Conn { return &torn{hide(conn), otherConn, conn} }), handlerOnly},
		{"a connection in a closure", false, wrapping(func(conn net.Conn) net.Conn { return hide(conn) }), handlerOnly},
		{"a field that is nil", false, wrapping(func(conn net.Conn) net.Conn { return &endless{hide(conn), nil} }), handlerOnly},
		{"a wrapper of itself", false, wrapping(func(conn net.Conn) net.Conn {
			e := &endless{hidden: hide(conn)}
			e.next = e
			return e
		}), handlerOnly},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			path := "/" + strings.ReplaceAll(c.sentence, " ", "-")
			mux := http.NewServeMux()
			mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
			server := &http.Server{Handler: mux}
			go server.Serve(c.listen(inner))
			t.Cleanup(func() { server.Close() })
			service := labtest.Labels{"service": ex.WaitAttached(os.Getpid()).Name, "path": path}
			v := visit(t, &labtest.Server{Listen: []string{inner.Addr().String()}})
			if c.tls {
				conn := tls.Client(v.Conn, &tls.Config{InsecureSkipVerify: true})
				v = &visitor{conn, bufio.NewReader(conn)}
			}
			for range 5 {
				v.ask(t, path)
				v.answer(t)
			}
			labtest.Settles(t, func() error { return wantStages(ex.Scrape(), service, c.want...) })
		})
	}
}
