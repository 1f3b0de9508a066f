// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestNewGrid_lies_on_multiples_of_its_step_covers_the_range_and_has_no_more_points_than_asked_for(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		start := time.UnixMilli(random.Int64N(2e12) - 1e11)
		end := start.Add(time.Duration(random.Int64N(int64(400 * 24 * time.Hour))))
		step, points := time.Duration(random.Int64N(int64(time.Hour))), random.IntN(20000)-10
		g := NewGrid(start, end, step, points)
		if g.Start.UnixMilli()%g.Step.Milliseconds() != 0 || g.Step%time.Second != 0 || g.Step < step {
			t.Fatalf("NewGrid(%s, %s, %s, %d) = %+v is not aligned", start, end, step, points, g)
		}
		if g.Start.After(start) || g.Start.Add(g.Step).Before(start) || g.End().After(end) || !g.End().Add(g.Step).After(end) {
			t.Fatalf("NewGrid(%s, %s, %s, %d) = %+v ends at %s and doesn't cover it", start, end, step, points, g, g.End())
		}
		if most := max(2, min(points, MaxPoints)) + 1; g.Points < 1 || g.Points > min(most, MaxPoints) {
			t.Fatalf("NewGrid(%s, %s, %s, %d) has %d points", start, end, step, points, g.Points)
		}
	}
}

func TestNewGrid_of_a_range_that_ends_before_it_starts_has_one_point(t *testing.T) {
	if g := NewGrid(time.Unix(1000, 0), time.Unix(500, 0), time.Second, 100); g.Points != 1 {
		t.Errorf("got %+v", g)
	}
}
