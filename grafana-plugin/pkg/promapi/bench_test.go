// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// The frames of 200 series of 1,000 points, from the bytes of an answer, as this package
// makes them and as they are made of the model of client_golang's API:
//
//	go test -run '^$' -bench Frames -benchmem -count 10 ./grafana-plugin/pkg/promapi | benchstat -col /by -
func BenchmarkFrames(b *testing.B) {
	grid := Grid{time.Unix(1700000000, 0).UTC(), 30 * time.Second, 1000}
	for by, frames := range ways(b, 200, grid) {
		b.Run("by="+by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				frames()
			}
		})
	}
}

// Allocations don't depend on how busy the machine is, as times do.
func TestFrames_take_less_than_half_the_allocations_of_client_golang(t *testing.T) {
	taken := map[string]float64{}
	for by, frames := range ways(t, 20, Grid{time.Unix(1700000000, 0).UTC(), 30 * time.Second, 1000}) {
		taken[by] = testing.AllocsPerRun(5, frames)
	}
	if !(taken["tcpslo"] < taken["client_golang"]/2) {
		t.Errorf("got %v allocations", taken)
	}
}

// ways are the two of making frames of the bytes of one answer.
func ways(t testing.TB, series int, grid Grid) map[string]func() {
	body := matrix(series, grid)
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
	})
	ours := New(&http.Client{Transport: transport}, "http://prometheus", time.Minute)
	client, err := api.NewClient(api.Config{Address: "http://prometheus", RoundTripper: transport})
	if err != nil {
		t.Fatal(err)
	}
	theirs := prometheus.NewAPI(client)
	return map[string]func(){
		"tcpslo": func() {
			result, err := ours.Range(context.Background(), "up", grid)
			if err != nil || len(result.Frame(grid).Fields) != series+1 {
				t.Fatal(result, err)
			}
		},
		"client_golang": func() {
			value, _, _, err := theirs.QueryRange(context.Background(), "up", prometheus.Range{Start: grid.Start, End: grid.End(), Step: grid.Step})
			if err != nil || len(framesOf(value.(model.Matrix))) != series {
				t.Fatal(value, err)
			}
		},
	}
}

// framesOf makes a frame of each series, with a field of times and one of values.
func framesOf(matrix model.Matrix) data.Frames {
	frames := make(data.Frames, 0, len(matrix))
	for _, stream := range matrix {
		labels := make(data.Labels, len(stream.Metric))
		for name, value := range stream.Metric {
			labels[string(name)] = string(value)
		}
		times, values := make([]time.Time, len(stream.Values)), make([]float64, len(stream.Values))
		for i, pair := range stream.Values {
			times[i], values[i] = pair.Timestamp.Time(), float64(pair.Value)
		}
		frames = append(frames, data.NewFrame("", data.NewField("time", nil, times), data.NewField("value", labels, values)))
	}
	return frames
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// matrix writes an answer.
func matrix(series int, grid Grid) []byte {
	var body strings.Builder
	body.WriteString(`{"status":"success","data":{"resultType":"matrix","result":[`)
	for s := range series {
		if s > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"metric":{"__name__":"slo:tcpslo_slo_events:rate5m","service":"service-%d","slo":"availability"},"values":[`, s)
		for i, at := range grid.Times() {
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `[%d,"%s"]`, at.Unix(), strconv.FormatFloat(float64(s*i)/7, 'f', -1, 64))
		}
		body.WriteString("]}")
	}
	body.WriteString("]}}")
	return []byte(body.String())
}
