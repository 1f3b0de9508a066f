// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"cmp"
	"slices"
	"time"
)

// Leaks judges, from one reading of a process to the next, which functions create
// goroutines that never end.
//
// Time is cut in windows. A goroutine that is there at the end of the window in
// which it was first seen and at the end of the next one has been left behind. A
// function is suspected when it has left some behind in each of several windows in
// succession, and none of all that it left behind ended in these. It is suspected
// until one ends.
//
// A goroutine that waits for a peer should not be added (MayLeak): the peer can end
// it. That is the connection without a request, of which every server has many.
//
// Descriptors leak as goroutines do and are judged alike.
type Leaks struct {
	Window  time.Duration // at least
	Windows int           // how many in succession, 1 to 63

	ends  []time.Time // of the last windows
	count int         // of windows
	left  []left      // at the end of the last one, by ID
	now   []left      // of this one, in any order
	sites map[siteKey]*site
}

// siteKey is a go statement.
type siteKey struct{ createdBy, createdAt string }

// left is a goroutine that there is at the end of a window.
type left struct {
	id        uint64
	site      *site
	firstSeen int // at the end of which window
}

// site is a function that creates goroutines.
type site struct {
	Leak
	suspected bool
	alive     bool   // there is a goroutine of it
	began     uint64 // bit n: there are some that were first seen n windows ago
	calm      int    // windows in succession in which none of those that it had left behind ended
}

// Leak is a function that is suspected of leaking goroutines by one of its go
// statements.
type Leak struct {
	CreatedBy, CreatedAt string
	// Count is how many it has left behind, those from before the first window too.
	Count int
	// Since is the end of the first of the windows that made it suspicious.
	Since time.Time
}

// Due tells whether the window has ended: the goroutines that there are should be
// added, all of them, and then judged. What was added before is forgotten.
func (l *Leaks) Due(now time.Time) bool {
	l.now = l.now[:0]
	return l.count == 0 || now.Sub(l.ends[len(l.ends)-1]) >= l.Window
}

// Add adds a goroutine that there is at the end of a window, by its ID and the
// function and the line that created it.
func (l *Leaks) Add(id uint64, createdBy, createdAt string) {
	if l.sites == nil {
		l.sites = map[siteKey]*site{}
	}
	key := siteKey{createdBy, createdAt}
	s, ok := l.sites[key]
	if !ok {
		s = &site{Leak: Leak{CreatedBy: createdBy, CreatedAt: createdAt}}
		l.sites[key] = s
	}
	l.now = append(l.now, left{id: id, site: s})
}

// MayLeak tells whether a goroutine is to be judged.
func (g Goroutine) MayLeak() bool { return g.WaitReason != ioWait && !g.IsSystem() }

// Judge ends a window with the goroutines that were added.
func (l *Leaks) Judge(now time.Time) {
	l.count++
	l.ends = append(l.ends, now)[max(0, len(l.ends)-l.Windows):]
	for _, s := range l.sites {
		s.began, s.calm, s.Count, s.alive = 0, s.calm+1, 0, false
	}
	slices.SortFunc(l.now, func(a, b left) int { return cmp.Compare(a.id, b.id) })
	before := l.left
	for i := range l.now {
		g := &l.now[i]
		for ; len(before) > 0 && before[0].id < g.id; before = before[1:] {
			l.ended(before[0])
		}
		g.firstSeen, g.site.alive = l.count, true
		if len(before) > 0 && before[0].id == g.id {
			g.firstSeen = before[0].firstSeen
			before = before[1:]
			g.site.Count++
		}
		if age := l.count - g.firstSeen; g.firstSeen > 1 && age < 64 { // else it may be as old as the process
			g.site.began |= 1 << age
		}
	}
	for _, g := range before {
		l.ended(g)
	}
	l.left, l.now = l.now, l.left[:0]
	for key, s := range l.sites {
		if !s.alive {
			delete(l.sites, key)
		}
		l.judge(s)
	}
}

// ended notes that a goroutine is no more, or waits for its peer now.
func (l *Leaks) ended(g left) {
	if g.firstSeen < l.count-1 {
		g.site.calm = 0
	}
}

func (l *Leaks) judge(s *site) {
	each := uint64(1)<<(l.Windows+1) - 2 // first seen 1 to Windows windows ago
	switch {
	case s.calm == 0:
		s.suspected = false
	case !s.suspected && s.calm >= l.Windows && s.began&each == each:
		s.suspected, s.Since = true, l.ends[0]
	}
}

// Suspected lists the leaks, the largest first.
func (l *Leaks) Suspected() []Leak {
	var all []Leak
	for _, s := range l.sites {
		if s.suspected {
			all = append(all, s.Leak)
		}
	}
	slices.SortFunc(all, func(a, b Leak) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.CreatedBy, b.CreatedBy), cmp.Compare(a.CreatedAt, b.CreatedAt))
	})
	return all
}
