// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"time"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/sockdiag"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// SocketsOptions are the options of the collector "sockets".
type SocketsOptions struct {
	Common `yaml:",inline"`
	// Namespaces tells whose sockets are counted: "own", those of the exporter's
	// network namespace, or "all", those of every namespace that a process lives in.
	Namespaces socketNamespaces `yaml:"namespaces"`
	// Destinations is how many of the busiest destinations of outgoing connections
	// are told, of each namespace: 0 to 1000.
	Destinations topDestinations `yaml:"destinations"`
}

type (
	socketNamespaces string
	topDestinations  int
)

const (
	ownNamespace  socketNamespaces = "own"
	allNamespaces socketNamespaces = "all"
)

// UnmarshalNode reads own or all.
func (s *socketNamespaces) UnmarshalNode(n *strictyaml.Node) error {
	switch *s = socketNamespaces(n.Text()); *s {
	case ownNamespace, allNamespaces:
		return nil
	}
	return n.Errorf("%q must be own or all, got %q", n.Name(), n.Text())
}

// UnmarshalNode reads a number of 0 to 1000.
func (t *topDestinations) UnmarshalNode(n *strictyaml.Node) error {
	if err := n.Decode((*int)(t)); err != nil {
		return err
	}
	if *t < 0 || *t > 1000 {
		return n.Errorf("%q must be between 0 and 1000, got %d", n.Name(), *t)
	}
	return nil
}

// socketsInterval is a little less than the 15 s at which most Prometheus servers
// scrape: each of their scrapes gets a fresh count, and two of them don't cost two.
const socketsInterval = 10 * time.Second

var socketsKind = Kind{
	Collector: names.Sockets,
	Options: func() Options {
		return &SocketsOptions{Common: Common{Interval: Interval(socketsInterval)}, Namespaces: ownNamespace, Destinations: 10}
	},
	New: newSockets,
}

// sockets counts TCP sockets by what sock_diag(7) tells. It allocates for
// listeners, services and series, not for sockets.
type sockets struct {
	environment Environment
	options     *SocketsOptions
	namespaces  map[uint32]*countedNamespace // by inode
	owners      *socketOwners

	// What each count needs anew and would else allocate anew.
	destinations map[destination]uint32
	buffer       []byte

	resting
}

func newSockets(environment Environment, options Options) (Collector, error) {
	return &sockets{
		environment: environment, options: options.(*SocketsOptions), namespaces: map[uint32]*countedNamespace{},
		owners: newSocketOwners(environment.Procfs), destinations: map[destination]uint32{}, buffer: make([]byte, sockdiag.BufferSize),
	}, nil
}

func (s *sockets) Close() error { return nil }

// Update counts, or returns what the last count found if that was dear.
func (s *sockets) Update() (*Found, error) { return s.update(s.count) }

func (s *sockets) count(now time.Time) (*Found, error) {
	c := &socketCount{sockets: s, now: now, found: &Found{}}
	var errs []error
	if s.options.Namespaces == ownNamespace {
		if inode, err := threadNetns(s.environment.Procfs); err != nil {
			errs = append(errs, err)
		} else {
			errs = append(errs, c.namespace(inode))
		}
	} else {
		errs = s.forEachNamespace(c.namespace)
	}
	errs = append(errs, c.assignOutgoing())
	c.ageLeaks()
	for inode, n := range s.namespaces {
		if !n.counted.Equal(now) { // gone, or not to be counted any more
			delete(s.namespaces, inode)
			continue
		}
		c.addGroups(n)
	}
	s.owners.forget()
	c.found.Add(names.SocketsCounted, float64(now.UnixMilli())/1000)
	return c.found, firstErrors(errs)
}

// firstErrors joins a few errors and tells how many more there are: what stops the
// exporter from entering one network namespace stops it at a thousand.
func firstErrors(errs []error) error {
	const few = 3
	var all []error
	for _, err := range errs {
		if err != nil {
			all = append(all, err)
		}
	}
	if more := len(all) - few; more > 0 {
		all = append(all[:few:few], fmt.Errorf("and %d more errors", more))
	}
	return errors.Join(all...)
}
