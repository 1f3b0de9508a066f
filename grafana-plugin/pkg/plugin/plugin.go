// SPDX-License-Identifier: Apache-2.0

// Package plugin answers Grafana: queries, resources, health checks and streams of the
// datasource tcpslo-slo-datasource.
package plugin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/httpclient"
	"github.com/grafana/grafana-plugin-sdk-go/backend/instancemgmt"
	"github.com/grafana/grafana-plugin-sdk-go/backend/resource/httpadapter"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// ID is the plugin's id, that of plugin.json.
const ID = "tcpslo-slo-datasource"

// Datasource is one datasource of one organisation. Grafana makes a new one when its
// settings change, and uses the old one for a little longer.
type Datasource struct {
	backend.CallResourceHandler
	uid       string
	settings  models.Settings
	matchers  []promql.Matcher // of the settings' selector
	api       *promapi.Client
	queries   *promapi.Shared
	exporters *http.Client // gives up after the settings' timeout
	streams   *http.Client // never gives up
	clock     func() time.Time
}

var (
	_ backend.QueryDataHandler      = (*Datasource)(nil)
	_ backend.CallResourceHandler   = (*Datasource)(nil)
	_ backend.CheckHealthHandler    = (*Datasource)(nil)
	_ backend.StreamHandler         = (*Datasource)(nil)
	_ instancemgmt.InstanceDisposer = (*Datasource)(nil)
)

// New makes a datasource. The errors are those of its settings.
func New(ctx context.Context, instance backend.DataSourceInstanceSettings) (instancemgmt.Instance, error) {
	settings, err := models.ParseSettings(instance.JSONData, instance.URL)
	if err != nil {
		return nil, backend.DownstreamError(err)
	}
	d := &Datasource{uid: instance.UID, settings: settings, clock: time.Now}
	for _, m := range settings.Selector {
		if err := promql.CheckLabel(m.Name); err != nil {
			return nil, backend.DownstreamError(fmt.Errorf("the selector in the settings: %w", err))
		}
		d.matchers = append(d.matchers, promql.Is(m.Name, m.Value))
	}
	options, err := instance.HTTPClientOptions(ctx)
	if err != nil {
		return nil, backend.DownstreamError(fmt.Errorf("the settings of HTTP: %w", err))
	}
	prometheus, err := newClient(options, settings)
	if err != nil {
		return nil, err
	}
	// Exporters have TLS in common with Prometheus, and nothing else: user, password and
	// headers are not for them.
	options.BasicAuth, options.Header, options.SigV4 = nil, nil, nil
	if d.exporters, err = newClient(options, settings); err != nil {
		return nil, err
	}
	d.streams = &http.Client{Transport: d.exporters.Transport}
	d.api = promapi.New(prometheus, settings.PrometheusURL, settings.QueryTimeout())
	d.queries = promapi.NewShared(d.api)
	d.CallResourceHandler = httpadapter.New(d.resources())
	return d, nil
}

func newClient(options httpclient.Options, settings models.Settings) (*http.Client, error) {
	options.Timeouts.Timeout = settings.QueryTimeout()
	client, err := httpclient.New(options)
	if err != nil {
		return nil, backend.DownstreamError(fmt.Errorf("the settings of TLS: %w", err))
	}
	return client, nil
}

// Dispose closes connections that are idle.
func (d *Datasource) Dispose() {
	d.exporters.CloseIdleConnections()
}
