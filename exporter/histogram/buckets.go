// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// maxBoundaries bounds the classic boundaries of one histogram: each is a series
// of its own for every combination of labels.
const maxBoundaries = 200

// Buckets says where the classic boundaries of a histogram are, in the unit of
// the metric (seconds, bytes, connections). Exactly one of Exponential, Linear
// and List is given.
type Buckets struct {
	Exponential *Exponential `yaml:"exponential"`
	Linear      *Linear      `yaml:"linear"`
	List        []float64    `yaml:"list"`
	// NativeSchema is nil where the file leaves it to the caller's default.
	NativeSchema *Schema `yaml:"native_schema"`
}

// Exponential boundaries: Start, Start×Factor, Start×Factor², … Count of them.
type Exponential struct {
	Start  float64 `yaml:"start,required"`
	Factor float64 `yaml:"factor,required"`
	Count  int     `yaml:"count,required"`
}

// Linear boundaries: Start, Start+Width, Start+2×Width, … Count of them.
type Linear struct {
	Start float64 `yaml:"start,required"`
	Width float64 `yaml:"width,required"`
	Count int     `yaml:"count,required"`
}

// Schema is the resolution of a native histogram: each power of two is divided
// into 2^Schema buckets. It goes from -4 (a bucket covers 16 powers of two) to 8
// (a bucket is 0.3 % wide), or is SchemaNone.
type Schema int

// SchemaNone switches the native histogram off; the file says "none".
const SchemaNone Schema = math.MinInt32

// Schemas that Prometheus knows.
const (
	SchemaMin Schema = -4
	SchemaMax Schema = 8
)

// Native tells whether there is a native histogram at all.
func (s Schema) Native() bool { return s != SchemaNone }

// UnmarshalNode reads a schema number or the word "none".
func (s *Schema) UnmarshalNode(n *strictyaml.Node) error {
	if n.Text() == "none" {
		*s = SchemaNone
		return nil
	}
	value := math.MaxInt
	if err := n.Decode(&value); err != nil || value < int(SchemaMin) || value > int(SchemaMax) {
		return n.Errorf("%q must be an integer between %d and %d, or none", n.Name(), SchemaMin, SchemaMax)
	}
	*s = Schema(value)
	return nil
}

// UnmarshalNode reads and checks buckets.
func (b *Buckets) UnmarshalNode(n *strictyaml.Node) error {
	type plain Buckets
	var p plain
	if err := n.Decode(&p); err != nil {
		return err
	}
	*b = Buckets(p)
	if key, err := b.check(); err != nil {
		return n.At(key).Errorf("%q: %s", n.Name(), err)
	}
	return nil
}

// Boundaries returns the upper, inclusive boundaries, positive and increasing,
// without +Inf; or why there are none.
func (b Buckets) Boundaries() ([]float64, error) {
	if _, err := b.check(); err != nil {
		return nil, err
	}
	switch {
	case b.Exponential != nil:
		return prometheus.ExponentialBuckets(b.Exponential.Start, b.Exponential.Factor, b.Exponential.Count), nil
	case b.Linear != nil:
		return prometheus.LinearBuckets(b.Linear.Start, b.Linear.Width, b.Linear.Count), nil
	default:
		return slices.Clone(b.List), nil
	}
}

// check returns what is wrong and the path of the key it is about.
func (b Buckets) check() (key string, err error) {
	given := 0
	for _, is := range []bool{b.Exponential != nil, b.Linear != nil, b.List != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return "", fmt.Errorf("give exactly one of exponential, linear and list, got %d", given)
	}
	if s := b.NativeSchema; s != nil && s.Native() && (*s < SchemaMin || *s > SchemaMax) {
		return "native_schema", fmt.Errorf("native_schema must be between %d and %d, got %d", SchemaMin, SchemaMax, *s)
	}
	switch {
	case b.Exponential != nil:
		return b.Exponential.check()
	case b.Linear != nil:
		return b.Linear.check()
	default:
		return checkList(b.List)
	}
}

func (e *Exponential) check() (key string, err error) {
	switch {
	case !positive(e.Start):
		return "exponential.start", fmt.Errorf("start must be more than 0, got %v", e.Start)
	case !(e.Factor > 1) || math.IsInf(e.Factor, 0):
		return "exponential.factor", fmt.Errorf("factor must be more than 1, got %v", e.Factor)
	case e.Count < 1 || e.Count > maxBoundaries:
		return "exponential.count", fmt.Errorf("count must be between 1 and %d, got %d", maxBoundaries, e.Count)
	}
	key, err = checkList(prometheus.ExponentialBuckets(e.Start, e.Factor, e.Count))
	if err != nil {
		key = "exponential"
	}
	return key, err
}

func (l *Linear) check() (key string, err error) {
	switch {
	case !positive(l.Start):
		return "linear.start", fmt.Errorf("start must be more than 0, got %v", l.Start)
	case !positive(l.Width):
		return "linear.width", fmt.Errorf("width must be more than 0, got %v", l.Width)
	case l.Count < 1 || l.Count > maxBoundaries:
		return "linear.count", fmt.Errorf("count must be between 1 and %d, got %d", maxBoundaries, l.Count)
	}
	key, err = checkList(prometheus.LinearBuckets(l.Start, l.Width, l.Count))
	if err != nil {
		key = "linear"
	}
	return key, err
}

// checkList wants what Prometheus wants of boundaries. The generated ones go
// through it too: steps may be lost in rounding, and powers may overflow.
func checkList(list []float64) (key string, err error) {
	if len(list) < 1 || len(list) > maxBoundaries {
		return "list", fmt.Errorf("list must have between 1 and %d boundaries, got %d", maxBoundaries, len(list))
	}
	for i, b := range list {
		key = fmt.Sprintf("list[%d]", i)
		switch {
		case math.IsInf(b, 1):
			return key, errors.New("boundaries must be finite")
		case !positive(b):
			return key, fmt.Errorf("boundaries must be more than 0, got %v", b)
		case i > 0 && b <= list[i-1]:
			return key, fmt.Errorf("boundaries must increase, got %v after %v", b, list[i-1])
		}
	}
	return "", nil
}

func positive(f float64) bool { return f > 0 && !math.IsInf(f, 1) }
