// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// exposition is one scrape: metric families by name.
type exposition map[string]*dto.MetricFamily

// scrape asks for protobuf, the form that carries native histograms.
func scrape(ctx context.Context, address string) (exposition, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape: %s", response.Status)
	}
	return decode(response.Body, expfmt.ResponseFormat(response.Header))
}

func decode(body io.Reader, format expfmt.Format) (exposition, error) {
	families := exposition{}
	decoder := expfmt.NewDecoder(body, format)
	for {
		family := &dto.MetricFamily{}
		err := decoder.Decode(family)
		if errors.Is(err, io.EOF) {
			return families, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode the scrape: %w", err)
		}
		families[family.GetName()] = family
	}
}

// labels are label names and values.
type labels map[string]string

// series returns the series of a metric that have all these labels.
func (e exposition) series(name string, want labels) []*dto.Metric {
	var some []*dto.Metric
	for _, m := range e[name].GetMetric() {
		matching := 0
		for _, pair := range m.Label {
			if value, ok := want[pair.GetName()]; ok && value == pair.GetValue() {
				matching++
			}
		}
		if matching == len(want) {
			some = append(some, m)
		}
	}
	return some
}

// sum adds up counters and gauges.
func (e exposition) sum(name string, want labels) float64 {
	sum := 0.0
	for _, m := range e.series(name, want) {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

func (e exposition) size() int {
	n := 0
	for _, family := range e {
		n += len(family.Metric)
	}
	return n
}

func labelOf(m *dto.Metric, name string) string {
	for _, pair := range m.Label {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// quantile is the upper boundary of the native bucket that holds the sample of
// that rank: the sample itself is at most one bucket's width (9 % at schema 3)
// below it. It is NaN without samples.
func quantile(h *dto.Histogram, q float64) float64 {
	rank := uint64(math.Ceil(q * float64(h.GetSampleCount())))
	if rank == 0 {
		return math.NaN()
	}
	seen := h.GetZeroCount()
	if seen >= rank {
		return h.GetZeroThreshold()
	}
	var index int32
	var count int64
	next := 0
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += h.PositiveDelta[next]
			next++
			if seen += uint64(count); seen >= rank {
				// Boundaries are powers of 2^(2^-schema).
				return math.Exp2(math.Ldexp(float64(index), int(-h.GetSchema())))
			}
			index++
		}
	}
	return math.Inf(1)
}

// within counts the samples up to a boundary that the classic histogram has.
func within(h *dto.Histogram, boundary float64) (uint64, error) {
	for _, b := range h.Bucket {
		if b.GetUpperBound() == boundary {
			return b.GetCumulativeCount(), nil
		}
	}
	return 0, fmt.Errorf("the histogram has no boundary %v", boundary)
}
