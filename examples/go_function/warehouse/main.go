// SPDX-License-Identifier: Apache-2.0

// Command warehouse calls its method Lookup in every way that makes measuring a
// Go function hard, and counts the calls itself: for each line on its standard
// input it does a round of them and prints how many have returned so far.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Warehouse has bundles of bundles.
type Warehouse struct {
	returned atomic.Int64 // calls of Lookup that have returned
	panicked atomic.Int64 // calls of Lookup that have not
}

// Lookup finds a part that is packed into the given number of bundles. It
// panics if the part is missing, in the innermost bundle.
//
//go:noinline
func (w *Warehouse) Lookup(bundles int, missing bool, busy func()) int {
	returned := false
	defer func() { // counts a call in the very moment it ends
		if returned {
			w.returned.Add(1)
		} else {
			w.panicked.Add(1)
		}
	}()
	busy()
	if bundles > 0 {
		n := 1 + w.Lookup(bundles-1, missing, busy)
		returned = true
		return n
	}
	if missing {
		panic("missing")
	}
	returned = true
	return 0
}

func (w *Warehouse) round() {
	idle := func() {}
	for range 100 {
		w.Lookup(0, false, idle)
	}
	w.Lookup(50, false, idle) // recursion
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { // a fresh goroutine, whose stack has to grow while Lookup runs
			w.Lookup(3, false, func() { deep(2000) })
			w.Lookup(i, false, runtime.Gosched)
			w.Lookup(1, false, func() { time.Sleep(time.Millisecond) })
		})
		all.Go(func() { // a panic leaves the entries of four calls behind
			w.try(3)
			w.Lookup(3, false, idle) // at the same depth as the calls that panicked
			w.try(0)
		})
	}
	all.Wait()
	runtime.GC() // shrinks stacks
}

// try looks for what is missing.
func (w *Warehouse) try(bundles int) {
	defer func() { _ = recover() }()
	w.Lookup(bundles, true, func() {})
}

// deep uses some 200 bytes of stack for each level.
//
//go:noinline
func deep(levels int) byte {
	var frame [128]byte
	frame[levels%128] = byte(levels)
	if levels == 0 {
		return frame[0]
	}
	return frame[levels%128] + deep(levels-1)
}

func main() {
	w := &Warehouse{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		w.round()
		fmt.Println(w.returned.Load(), w.panicked.Load())
	}
}
