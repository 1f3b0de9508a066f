// SPDX-License-Identifier: Apache-2.0

package histogram

import "slices"

// Counts is what the slots of a histogram have counted: those that have counted
// anything, in their order. A histogram has hundreds of slots, and seldom has
// more than a few dozen of them counted anything.
type Counts []Count

// Count is how much one slot has counted.
type Count struct {
	Slot  int
	Count uint64
}

// Add adds what slots have counted, the first at index 0, and returns the sum,
// which takes the place of c as with append. It keeps no reference to slots.
func (c Counts) Add(slots []uint64) Counts {
	at := 0
	for slot, count := range slots {
		if count == 0 {
			continue
		}
		for at < len(c) && c[at].Slot < slot {
			at++
		}
		if at < len(c) && c[at].Slot == slot {
			c[at].Count += count
		} else {
			c = slices.Insert(c, at, Count{slot, count})
		}
	}
	return c
}
