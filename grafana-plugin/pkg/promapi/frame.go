// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"math"

	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// Frame puts all series beside each other on one time field. What is not known is null, so that
// a panel shows a gap; infinities stay.
func (r *Result) Frame(grid Grid) *data.Frame {
	fields := make(data.Fields, 0, len(r.Series)+1)
	fields = append(fields, data.NewField(data.TimeSeriesTimeFieldName, nil, grid.Times()))
	for _, s := range r.Series {
		fields = append(fields, data.NewField(data.TimeSeriesValueFieldName, s.Labels, Nullable(s.Values)))
	}
	frame := data.NewFrame("", fields...)
	frame.Meta = &data.FrameMeta{Type: data.FrameTypeTimeSeriesWide, TypeVersion: data.FrameTypeVersion{0, 1}}
	return frame
}

// Nullable points to each value that is not NaN. It is not copied.
func Nullable(values []float64) []*float64 {
	pointers := make([]*float64, len(values))
	for i := range values {
		if !math.IsNaN(values[i]) {
			pointers[i] = &values[i]
		}
	}
	return pointers
}
