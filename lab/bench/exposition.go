// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// answer is one answer of /metrics.
type answer struct {
	body []byte
	took time.Duration // from the request to the last byte of the body
}

// format is how to ask for metrics.
type format struct{ name, accept, encoding string }

// The formats that Prometheus asks for; protobuf is the one with native
// histograms.
var (
	text     = format{"text", "text/plain;version=0.0.4", ""}
	gzipped  = format{"text, gzip", "text/plain;version=0.0.4", "gzip"}
	protobuf = format{"protobuf", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", ""}
)

func (e *exporter) get(f format) (answer, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+e.Address+"/metrics", nil)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Accept", f.accept)
	if f.encoding != "" {
		request.Header.Set("Accept-Encoding", f.encoding)
	}
	began := time.Now()
	response, err := e.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	// As Prometheus does, with room for as much as came last (scrape/scrape.go,
	// lastScrapeSize): the client runs on the cores that it measures.
	body := bytes.NewBuffer(make([]byte, 0, e.size+bytes.MinRead))
	_, err = body.ReadFrom(response.Body)
	took := time.Since(began)
	e.size = max(e.size, body.Len())
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET /metrics: %s: %s", response.Status, body)
	}
	return answer{body.Bytes(), took}, err
}

// exposition is metric families by name.
type exposition map[string]*dto.MetricFamily

func (e *exporter) metrics() (exposition, error) {
	a, err := e.get(text)
	if err != nil {
		return nil, err
	}
	return parse(a.body)
}

func parse(body []byte) (exposition, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("parse /metrics: %w", err)
	}
	return families, nil
}

// labels are label names and values that a series must have; it may have more.
type labels map[string]string

// sum adds up the series with these labels: the values of counters and gauges,
// the sample counts of histograms.
func (e exposition) sum(name string, want labels) float64 {
	total := 0.0
	for _, m := range e[name].GetMetric() {
		if has(m, want) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return total
}

func has(m *dto.Metric, want labels) bool {
	found := 0
	for _, pair := range m.Label {
		if value, ok := want[pair.GetName()]; ok && value == pair.GetValue() {
			found++
		}
	}
	return found == len(want)
}

// size counts the series, a histogram as one, and the histograms among them.
func (e exposition) size() (series, histograms int) {
	for _, family := range e {
		series += len(family.Metric)
		if family.GetType() == dto.MetricType_HISTOGRAM {
			histograms += len(family.Metric)
		}
	}
	return series, histograms
}

func labelOf(m *dto.Metric, name string) string {
	for _, pair := range m.Label {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
