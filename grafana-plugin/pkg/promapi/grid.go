// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"math"
	"strconv"
	"time"
)

// MaxPoints is how many points of time a range query may have; Prometheus refuses
// more than 11,000.
const MaxPoints = 11000

// Grid is the points of time of a range query: Start, and Points-1 more, each Step
// later. Both are whole milliseconds.
type Grid struct {
	Start  time.Time
	Step   time.Duration
	Points int
}

// NewGrid covers from start to end by steps that are not smaller than step and give no more than
// points points, MaxPoints at most. Both ends are multiples of the step, so that two panels ask for the same
// times, as servers that cache answers do of their own accord (VictoriaMetrics); start is at or
// before the one given.
func NewGrid(start, end time.Time, step time.Duration, points int) Grid {
	points = max(2, min(points, MaxPoints))
	step = max(step, time.Second)
	if least := end.Sub(start) / time.Duration(points-1); step < least {
		step = least
	}
	// Whole seconds; from a minute on, whole multiples of ten seconds. A zoom by a
	// little has the same grid.
	unit := time.Second
	if step >= time.Minute {
		unit = 10 * time.Second
	}
	step = (step + unit - 1) / unit * unit
	first := floor(start.UnixMilli(), step.Milliseconds())
	last := floor(end.UnixMilli(), step.Milliseconds())
	n := max(0, (last-first)/step.Milliseconds()) + 1
	return Grid{time.UnixMilli(first).UTC(), step, int(min(n, MaxPoints))}
}

func floor(ms, step int64) int64 {
	return ms - ((ms%step)+step)%step
}

// End is the last point.
func (g Grid) End() time.Time { return g.Time(g.Points - 1) }

// Time is the point of an index.
func (g Grid) Time(index int) time.Time { return g.Start.Add(time.Duration(index) * g.Step) }

// Times are all points.
func (g Grid) Times() []time.Time {
	times := make([]time.Time, g.Points)
	for i := range times {
		times[i] = g.Time(i)
	}
	return times
}

// index finds the point of a time in seconds since 1970.
func (g Grid) index(seconds float64) (int, bool) {
	ms := math.Round(seconds * 1000)
	if !(math.Abs(ms) < 1<<53) {
		return 0, false
	}
	since, step := int64(ms)-g.Start.UnixMilli(), g.Step.Milliseconds()
	i := since / step
	return int(i), since >= 0 && since%step == 0 && i < int64(g.Points)
}

// seconds writes a time as Prometheus reads it.
func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64)
}
