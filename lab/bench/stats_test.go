// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
)

func TestQuantiles_lie_between_the_nearest_ranks(t *testing.T) {
	values := []float64{40, 10, 30, 20}
	for _, test := range []struct{ q, want float64 }{{0, 10}, {0.25, 17.5}, {0.5, 25}, {1, 40}} {
		if got := quantile(values, test.q); got != test.want {
			t.Errorf("quantile %v is %v, want %v", test.q, got, test.want)
		}
	}
	if values[0] != 40 {
		t.Error("the values were sorted in place; rounds must stay in their order")
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestA_comparison_pairs_the_values_of_a_round(t *testing.T) {
	// The machine became ten times slower in between, the ratio did not.
	c := comparison{off: []float64{10, 10, 100}, on: []float64{11, 11, 110}}
	if low, high := c.spread(); low != 1.1 || high != 1.1 {
		t.Errorf("quartiles %v and %v, want 1.1", low, high)
	}
	if got := c.ratio(); got != 1.1 {
		t.Errorf("ratio %v, want 1.1", got)
	}
}
