// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// maxCells bounds what an answer may take in memory: series times points, 16 bytes each
// when they are a frame.
const maxCells = 4 << 20

// Result is the answer to a query.
type Result struct {
	Series []Series
	// Warnings and Infos are what the server says of the answer.
	Warnings, Infos []string
	// Histograms is how many series were left out because they are native histograms.
	Histograms int
}

// Series is a series with a value for each point of the grid that was asked for; of an
// instant query, with one. NaN is where the server has none, and where it has NaN: both are
// "not known" to a reader of a panel. Infinities stay.
type Series struct {
	Labels data.Labels
	Values []float64
}

// Value is the value of an instant query.
func (s Series) Value() float64 { return s.Values[len(s.Values)-1] }

// decoder makes a Result of an answer of /api/v1/query_range, or with a nil grid of
// /api/v1/query, whatever the order of its members: resultType comes last sometimes.
type decoder struct {
	*scanner
	grid   *Grid
	result Result
	words  map[string]string // label names and values repeat from series to series
}

// decode reads an answer. What it accepts is JSON as encoding/json has it, and no member
// that it knows may be there twice.
func decode(in io.Reader, grid *Grid) (*Result, error) {
	d := &decoder{scanner: newScanner(in), grid: grid, words: map[string]string{}}
	if err := d.answer(); err != nil {
		return nil, err
	}
	return &d.result, nil
}

// once refuses a known member that comes again. Members are numbered from 0.
type once uint

func (o *once) see(member int, key []byte) error {
	if *o&(1<<member) != 0 {
		return fmt.Errorf("%q is there twice", key)
	}
	*o |= 1 << member
	return nil
}

func (o once) saw(member int) bool { return o&(1<<member) != 0 }

func (d *decoder) answer() error {
	var seen once
	var status, kind, message string
	hasData := false
	err := d.object(func(key []byte) error {
		switch string(key) {
		case "status":
			return first(seen.see(0, key), func() error { return d.string(&status) })
		case "data":
			return first(seen.see(1, key), func() error {
				null, err := d.null()
				if null || err != nil {
					return err
				}
				hasData = true
				return d.data()
			})
		case "errorType":
			return first(seen.see(2, key), func() error { return d.string(&kind) })
		case "error":
			return first(seen.see(3, key), func() error { return d.string(&message) })
		case "warnings":
			return first(seen.see(4, key), func() error { return d.strings(&d.result.Warnings) })
		case "infos":
			return first(seen.see(5, key), func() error { return d.strings(&d.result.Infos) })
		}
		return d.skip()
	})
	if err == nil {
		err = d.end()
	}
	switch {
	case err != nil:
		return err
	case status == "error":
		return &APIError{Type: kind, Message: message}
	case status != "success":
		return fmt.Errorf("status is %q, want \"success\" or \"error\"", status)
	case !hasData:
		return errors.New("there is no data")
	}
	return nil
}

// first goes on where there is no error.
func first(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

func (d *decoder) data() error {
	var seen once
	var kind string
	err := d.object(func(key []byte) error {
		switch string(key) {
		case "resultType":
			return first(seen.see(0, key), func() error { return d.string(&kind) })
		case "result":
			return first(seen.see(1, key), func() error {
				if null, err := d.null(); null || err != nil {
					return err
				}
				return d.array(d.series)
			})
		}
		return d.skip()
	})
	want := "matrix"
	if d.grid == nil {
		want = "vector"
	}
	if err == nil && kind != want {
		return fmt.Errorf("result type is %q, want %q", kind, want)
	}
	return err
}

// series takes one series. A histogram has "histograms", or in an instant query "histogram"; a
// series can have both floats and histograms.
func (d *decoder) series() error {
	var seen once
	var s Series
	err := d.object(func(key []byte) error {
		switch string(key) {
		case "metric":
			return first(seen.see(0, key), func() (err error) { s.Labels, err = d.labels(); return err })
		case "values":
			if d.grid == nil {
				return d.skip()
			}
			return first(seen.see(1, key), func() (err error) { s.Values, err = d.values(); return err })
		case "value":
			if d.grid != nil {
				return d.skip()
			}
			return first(seen.see(1, key), func() error {
				_, value, err := d.sample()
				s.Values = []float64{value}
				return err
			})
		case "histogram", "histograms":
			return first(seen.see(2, key), d.skip)
		}
		return d.skip()
	})
	if err != nil {
		return err
	}
	if seen.saw(2) {
		d.result.Histograms++
	}
	if !seen.saw(1) {
		return nil
	}
	d.result.Series = append(d.result.Series, s)
	points := 1
	if d.grid != nil {
		points = d.grid.Points
	}
	if len(d.result.Series)*points > maxCells {
		return errTooManySeries
	}
	return nil
}

func (d *decoder) labels() (data.Labels, error) {
	labels := data.Labels{}
	return labels, d.object(func(key []byte) error {
		name := d.word(key)
		value, err := d.text()
		if err != nil {
			return err
		}
		if _, twice := labels[name]; twice {
			return fmt.Errorf("label %q is there twice", name)
		}
		labels[name] = d.word(value)
		return nil
	})
}

// word makes one string of all that are equal.
func (d *decoder) word(text []byte) string {
	word, known := d.words[string(text)]
	if !known {
		word = string(text)
		d.words[word] = word
	}
	return word
}

func (d *decoder) values() ([]float64, error) {
	values := make([]float64, d.grid.Points)
	for i := range values {
		values[i] = math.NaN()
	}
	return values, d.array(func() error {
		at, value, err := d.sample()
		if err != nil {
			return err
		}
		i, ok := d.grid.index(at)
		if !ok {
			return fmt.Errorf("there is a value at %g, which was not asked for", at)
		}
		values[i] = value
		return nil
	})
}

// sample takes [ time, "value" ].
func (d *decoder) sample() (at, value float64, err error) {
	if err := d.take('['); err != nil {
		return 0, 0, err
	}
	text, err := d.number()
	if err != nil {
		return 0, 0, err
	}
	if at, err = strconv.ParseFloat(string(text), 64); err != nil {
		return 0, 0, err
	}
	if err := d.take(','); err != nil {
		return 0, 0, err
	}
	if text, err = d.text(); err != nil {
		return 0, 0, err
	}
	if value, err = strconv.ParseFloat(string(text), 64); err != nil {
		return 0, 0, err
	}
	return at, value, d.take(']')
}

func (d *decoder) string(to *string) error {
	text, err := d.text()
	*to = string(text)
	return err
}

func (d *decoder) strings(to *[]string) error {
	if null, err := d.null(); null || err != nil {
		return err
	}
	return d.array(func() error {
		var one string
		err := d.string(&one)
		*to = append(*to, one)
		return err
	})
}
