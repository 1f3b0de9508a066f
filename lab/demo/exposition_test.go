// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestQuantile_is_at_most_one_bucket_above_the_sample(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{NativeHistogramBucketFactor: 1.1})
		samples := make([]float64, 1+random.IntN(500))
		for i := range samples {
			samples[i] = random.ExpFloat64() * 0.01
			h.Observe(samples[i])
		}
		slices.Sort(samples)
		var out dto.Metric
		if err := h.Write(&out); err != nil {
			t.Fatal(err)
		}
		for _, percent := range []int{1, 50, 90, 99, 100} {
			sample := samples[(len(samples)*percent+99)/100-1] // nearest rank
			got := quantile(out.Histogram, float64(percent)/100)
			if got < sample || got >= sample*1.0906 && got > out.Histogram.GetZeroThreshold() {
				t.Errorf("the %d %% quantile of %d samples is %v, the sample is %v", percent, len(samples), got, sample)
			}
		}
	}
}
