// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"slices"
	"testing"
	"time"
)

// program is a process with a clock that a test moves.
type program struct {
	leaks  Leaks
	clock  time.Time
	last   uint64
	living map[uint64]Goroutine
}

func newProgram() *program {
	return &program{leaks: Leaks{Window: time.Minute, Windows: 4}, clock: time.Unix(1_000_000, 0), living: map[uint64]Goroutine{}}
}

// begin begins goroutines and returns their IDs.
func (p *program) begin(n int, createdBy, waitReason string) (ids []uint64) {
	for range n {
		p.last++
		p.living[p.last] = Goroutine{ID: p.last, Status: waiting, WaitReason: waitReason, CreatedBy: createdBy, StartedWith: createdBy + ".func1"}
		ids = append(ids, p.last)
	}
	return ids
}

func (p *program) end(ids ...uint64) {
	for _, id := range ids {
		delete(p.living, id)
	}
}

// minute lets a window pass.
func (p *program) minute() []Leak {
	p.clock = p.clock.Add(time.Minute)
	if !p.leaks.Due(p.clock) {
		panic("a window is a minute")
	}
	for _, g := range p.living { // in any order
		if g.MayLeak() {
			p.leaks.Add(g.ID, g.CreatedBy, g.CreatedAt)
		}
	}
	p.leaks.Judge(p.clock)
	return p.leaks.Suspected()
}

func TestFunction_that_leaves_one_goroutine_of_a_thousand_behind_is_suspected(t *testing.T) {
	p := newProgram()
	p.begin(7, "main.leak", "chan receive") // from before the exporter
	p.minute()
	for minute := range 10 {
		p.begin(1, "main.leak", "chan receive")
		busy := p.begin(999, "main.leak", "chan receive")
		busy = append(busy, p.begin(100, "main.work", "select")...)
		got := p.minute()
		p.end(busy...)
		// Those of the last minute may still end.
		want := []Leak{{CreatedBy: "main.leak", Count: 7 + minute, Since: time.Unix(1_000_000, 0).Add(2 * time.Minute)}}
		if minute < 4 {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in minute %d: %+v, want %+v", minute, got, want)
		}
	}
	// Without new ones the old ones are still there.
	p.minute()
	if got := p.minute(); len(got) != 1 || got[0].Count != 17 {
		t.Errorf("after the last: %+v, want main.leak with 17", got)
	}
	p.end(3)
	if got := p.minute(); got != nil {
		t.Errorf("one has ended, so they do end: %+v, want none", got)
	}
}

func TestFunction_whose_goroutines_end_is_not_suspected(t *testing.T) {
	for name, minute := range map[string]func(p *program, minute int, before []uint64) []uint64{
		"a pool that is filled once": func(p *program, minute int, _ []uint64) []uint64 {
			if minute == 0 {
				p.begin(100, "main.work", "chan receive")
			}
			return nil
		},
		"requests of less than a minute": func(p *program, _ int, before []uint64) []uint64 {
			p.end(before...)
			return p.begin(50, "main.work", "chan receive")
		},
		"more and more long requests, one of which ends every three minutes": func(p *program, minute int, before []uint64) []uint64 {
			if minute%3 == 2 {
				p.end(before[0])
				before = before[1:]
			}
			return append(before, p.begin(minute+1, "main.work", "chan receive")...)
		},
		"more and more connections without a request": func(p *program, _ int, before []uint64) []uint64 {
			return append(before, p.begin(10, "net/http.(*Server).Serve", ioWait)...)
		},
		"a worker every other minute": func(p *program, minute int, before []uint64) []uint64 {
			return append(before, p.begin(minute%2, "main.work", "chan receive")...)
		},
	} {
		p := newProgram()
		var before []uint64
		for i := range 100 {
			before = minute(p, i, before)
			if got := p.minute(); got != nil {
				t.Errorf("%s: in minute %d suspected: %+v", name, i, got)
				break
			}
		}
	}
}

func TestLeaks_keep_nothing_of_functions_without_goroutines(t *testing.T) {
	p := newProgram()
	for range 10 {
		ids := p.begin(10, "main.work", "chan receive")
		p.minute()
		p.end(ids...)
	}
	p.minute()
	if len(p.leaks.sites) != 0 || len(p.leaks.left) != 0 || len(p.leaks.ends) > 5 {
		t.Errorf("kept: %d functions, %d goroutines, %d windows", len(p.leaks.sites), len(p.leaks.left), len(p.leaks.ends))
	}
}
