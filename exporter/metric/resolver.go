// SPDX-License-Identifier: Apache-2.0

package metric

import "net/netip"

// Resolver answers what a number in a map key means on this machine at this
// moment: which service owns a listener, which worker a socket is. Package
// service implements it.
type Resolver interface {
	// ServiceOfListener names the service that owns a listener; "" where that is
	// not known.
	ServiceOfListener(listener Listener) string
	// ServiceOfLocalAddress names the service whose listener accepted a connection
	// with the given address on this machine's side, and that listener. ok is false
	// where nothing listens there.
	ServiceOfLocalAddress(local Listener) (service string, listener Listener, ok bool)
	// ListenerAlive tells whether the listener exists, or has gone so lately that
	// its last values should still be served.
	ListenerAlive(listener Listener) bool
	// NetworkNamespace is "" for the exporter's own network namespace, else the
	// inode number of the namespace.
	NetworkNamespace(inode uint32) string
	// Worker names a process and its descriptor of a listening socket, "PID/FD".
	Worker(tgid uint32, inode uint64) string

	// ServiceOfProcess names the service of a process that executes the
	// executable with the given number.
	ServiceOfProcess(tgid, executable uint32) string
	// ProcessAlive tells whether a process still runs, and still executes the
	// executable with the number; 0 stands for any.
	ProcessAlive(tgid, executable uint32) bool
	// ServiceAlive tells whether a service has a process, or lost its last one so
	// lately that its last values should still be served.
	ServiceAlive(service string) bool
	// Route turns what a request says of its path into a route template.
	Route(service, method, path string, source RouteSource) string

	// Generation changes whenever an answer may have changed, so that labels can
	// be kept from scrape to scrape.
	Generation() uint64
}

// Listener is the identity of a listening TCP socket: all sockets of an
// SO_REUSEPORT group are one listener.
type Listener struct {
	Address netip.AddrPort
	Netns   uint32 // inode of the network namespace
	Cookie  uint64 // of the network namespace: inodes are used again; 0 before Linux 5.12
}

// RouteSource says where the text of a path comes from.
type RouteSource uint8

// The values are those of enum path_source in bpf/include/connection.h.
const (
	RoutePattern RouteSource = iota // Request.Pattern
	RouteRaw                        // Request.URL.Path, the router left Pattern empty
	RouteOther                      // no room for another path
)
