// SPDX-License-Identifier: Apache-2.0

package goroutine

import "time"

// Connections judges, from one reading of a process to the next, which sockets no
// goroutine cares for.
//
// Who reads a connection waits for it most of the time, and net/http waits for the
// client to leave while a handler runs. So who was last seen to wait for a socket
// uses it, for as long as it lives, and then a goroutine that it created (since Go
// 1.21, which tells the parent).
type Connections struct {
	known map[uint64]*connection // by inode
}

// connection is a socket of the last reading.
type connection struct {
	user      uint64 // ID of the goroutine that was last seen to use it; 0 if none was
	createdBy string // what created that
	since     time.Time
}

// Unwatched is a socket that no goroutine has waited for in two readings in
// succession.
type Unwatched struct {
	Descriptor
	Since time.Time // the first of these readings
	// User is the goroutine that may still use it; its ID is 0 if none does.
	User Goroutine
	// CreatedBy is the function that created the user, or the last one that there
	// was; "" if none was ever seen.
	CreatedBy string
}

// serve creates the goroutine of each HTTP connection (net/http/server.go).
const serve = "net/http.(*Server).Serve"

// watchers are the functions that create a goroutine that waits for a client on
// behalf of the one that created it.
var watchers = map[string]bool{
	"net/http.(*connReader).startBackgroundRead":  true,
	"net/http.(*http2serverConn).serve":           true,
	"net/http/internal/http2.(*serverConn).serve": true,
	"golang.org/x/net/http2.(*serverConn).serve":  true,
}

// Judge takes the descriptors and the goroutines that there are. The descriptors
// are to be read first: what is opened meanwhile then has its goroutine.
func (c *Connections) Judge(now time.Time, descriptors []Descriptor, goroutines []Goroutine) []Unwatched {
	byID, byAddress, children := map[uint64]int{}, map[uint64]int{}, map[uint64]int{}
	for i, g := range goroutines {
		byID[g.ID], byAddress[g.Address] = i, i
		if _, elder := children[g.Parent]; g.Parent != 0 && !elder {
			children[g.Parent] = i
		}
	}
	before := c.known
	c.known = map[uint64]*connection{}
	busy := map[uint64]bool{} // users of other sockets
	var idle []Unwatched
	for _, d := range descriptors {
		inode := d.Socket()
		if inode == 0 || !d.Polled {
			continue
		}
		s, ok := before[inode]
		if !ok {
			s = &connection{}
		}
		c.known[inode] = s
		if i, ok := waiter(d, byAddress); ok {
			user := goroutines[i]
			busy[user.ID] = true
			if parent, ok := byID[user.Parent]; ok && watchers[user.CreatedBy] {
				user = goroutines[parent]
				busy[user.ID] = true
			}
			*s = connection{user: user.ID, createdBy: user.CreatedBy}
			continue
		}
		if s.since.IsZero() {
			s.since = now
			continue
		}
		u := Unwatched{Descriptor: d, Since: s.since, CreatedBy: s.createdBy}
		i, alive := byID[s.user]
		if !alive {
			i, alive = children[s.user]
		}
		if alive {
			u.User, u.CreatedBy = goroutines[i], goroutines[i].CreatedBy
			busy[u.User.ID] = true
		}
		idle = append(idle, u)
	}
	c.attribute(idle, goroutines, busy)
	return idle
}

// waiter is the goroutine that waits for a descriptor.
func waiter(d Descriptor, byAddress map[uint64]int) (i int, ok bool) {
	for _, address := range d.Waiting {
		if i, ok := byAddress[address]; ok && address != 0 {
			return i, true
		}
	}
	return 0, false
}

// attribute gives a socket for which nobody was ever seen to wait a goroutine that
// serves a connection and was never seen to wait for one: which one can't be told,
// but that there is one.
func (c *Connections) attribute(idle []Unwatched, goroutines []Goroutine, busy map[uint64]bool) {
	next := 0
	for i := range idle {
		u := &idle[i]
		if c.known[u.Socket()].user != 0 {
			continue
		}
		for ; next < len(goroutines); next++ {
			if g := goroutines[next]; g.CreatedBy == serve && !busy[g.ID] {
				u.User, u.CreatedBy = g, g.CreatedBy
				next++
				break
			}
		}
	}
}
