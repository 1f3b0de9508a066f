// SPDX-License-Identifier: Apache-2.0

package models

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// DefaultTimeout is how long a query of Prometheus may take.
const DefaultTimeout = 10 * time.Second

// MaxTimeout bounds what the settings may ask for: Grafana's own patience ends there.
const MaxTimeout = 5 * time.Minute

// Settings is the datasource's jsonData. Authentication, TLS and headers are those of
// the SDK's HTTP client, under the names that Grafana's own editors use.
type Settings struct {
	// PrometheusURL is the base URL of a Prometheus-compatible API; the datasource's own
	// URL is used where it is empty.
	PrometheusURL string `json:"prometheusUrl"`
	// ExporterURLs are base URLs of exporters, for requests and live data.
	ExporterURLs []string `json:"exporterUrls"`
	// ExporterQuery is PromQL whose series have the addresses of exporters in their label
	// instance, host:port or a URL; for example up{job="tcpslo"}. It adds to ExporterURLs.
	ExporterQuery string `json:"exporterQuery"`
	// PrometheusUID is the uid of the stock Prometheus datasource that links lead to; empty for
	// no links.
	PrometheusUID string `json:"prometheusUid"`
	// Timeout is how long a query may take, seconds.
	Timeout float64 `json:"timeout"`
	// Selector is added to each selector of each query: label equals value.
	Selector []Matcher `json:"selector"`
}

// Matcher is a label and the value that it must have.
type Matcher struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ParseSettings reads jsonData. datasourceURL counts where it has no URL of Prometheus.
func ParseSettings(jsonData []byte, datasourceURL string) (Settings, error) {
	var s Settings
	if len(jsonData) > 0 {
		if err := json.Unmarshal(jsonData, &s); err != nil {
			return s, fmt.Errorf("settings cannot be read: %w", err)
		}
	}
	if s.PrometheusURL == "" {
		s.PrometheusURL = datasourceURL
	}
	if s.PrometheusURL == "" {
		return s, fmt.Errorf("the URL of Prometheus is missing: set it in the settings of the datasource")
	}
	var err error
	if s.PrometheusURL, err = baseURL(s.PrometheusURL); err != nil {
		return s, fmt.Errorf("the URL of Prometheus %w", err)
	}
	for i := range s.ExporterURLs {
		if s.ExporterURLs[i], err = baseURL(s.ExporterURLs[i]); err != nil {
			return s, fmt.Errorf("the URL of an exporter %w", err)
		}
	}
	if s.Timeout < 0 || s.Timeout > MaxTimeout.Seconds() {
		return s, fmt.Errorf("timeout must be 0 to %g seconds, got %g", MaxTimeout.Seconds(), s.Timeout)
	}
	return s, nil
}

// QueryTimeout is Timeout, or the default.
func (s Settings) QueryTimeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return time.Duration(s.Timeout * float64(time.Second))
}

// baseURL returns the URL without a slash at its end. The error does not repeat a
// URL with a password in it.
func baseURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: it must look like http://localhost:9090")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("%q must look like http://localhost:9090", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%q must have no query and no fragment", u.Redacted())
	}
	return strings.TrimRight(u.String(), "/"), nil
}
