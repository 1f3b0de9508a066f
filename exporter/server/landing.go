// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"html/template"
	"net/http"

	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/tcpslo/tcpslo/exporter/observe"
)

// landingPage shows what is observed, and what is not and why. The frame of the
// page comes from exporter-toolkit; what is observed changes, so the page is
// made for each request.
type landingPage struct {
	observer    *observe.Observer
	metricsPath string
	api         bool
}

var observed = template.Must(template.New("observed").Parse(`
<style>
table.observed { border-collapse: collapse; margin: 0.5em 0 1.5em; }
.observed th, .observed td { text-align: left; padding: 0.3em 1em 0.3em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
.observed .yes { color: #1a7f37; } .observed .no { color: #9a6700; }
.observed code { white-space: nowrap; }
</style>
<h2>Services</h2>
{{if .Services}}<table class="observed">
<tr><th>Service</th><th>HTTP requests</th><th>Listens on</th><th>Processes</th><th>Go</th><th>Executable</th></tr>
{{range .Services}}<tr><td><b>{{.Name}}</b></td>
<td>{{if eq .HTTP.State "attached"}}<span class="yes">observed</span>{{else}}<span class="no">not observed: {{.HTTP.Reason}}</span>{{end}}</td>
<td>{{range .Listeners}}<code>{{.Listener}}</code>{{with .Netns}} in network namespace {{.}}{{end}}<br>{{end}}</td>
<td>{{range $i, $pid := .PIDs}}{{if $i}}, {{end}}{{$pid}}{{end}}</td><td>{{.GoVersion}}</td><td><code>{{.Executable}}</code></td></tr>
{{end}}</table>{{else}}<p>No process listens yet. Start a Go HTTP server: it is found by itself.</p>{{end}}
<h2>Probes</h2>
<table class="observed"><tr><th>Probe</th><th>Program</th><th>Attached by</th><th>Not used on this kernel</th></tr>
{{range .Probes}}<tr><td>{{.Probe}}</td><td>{{.Program}}</td>
<td>{{if .Variant}}<code class="yes">{{.Variant}}</code>{{else}}<span class="no">not available</span>{{end}}</td>
<td>{{range .Refused}}<div>{{.}}</div>{{end}}</td></tr>
{{end}}</table>`))

func (l *landingPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	err := observed.Execute(&body, map[string]any{"Services": l.observer.Registry().Services(), "Probes": l.observer.Status()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	links := []web.LandingLinks{
		{Address: l.metricsPath, Text: "Metrics", Description: "for Prometheus"},
		{Address: "/healthz", Text: "Health"},
	}
	if l.api {
		links = append(links,
			web.LandingLinks{Address: "/api/v1/services", Text: "Services", Description: "as JSON"},
			web.LandingLinks{Address: "/api/v1/listeners", Text: "Listeners", Description: "as JSON"},
			web.LandingLinks{Address: "/api/v1/slos", Text: "SLOs", Description: "and what they have counted, as JSON"},
			web.LandingLinks{Address: "/api/v1/connections", Text: "Connections", Description: "and their goroutines, as JSON"},
			web.LandingLinks{Address: "/api/v1/findings", Text: "Findings", Description: "what services should have given back, as JSON"},
			web.LandingLinks{Address: "/api/v1/probes", Text: "Probes", Description: "as JSON"},
			web.LandingLinks{Address: "/api/v1/requests", Text: "Requests", Description: "slow ones, stage by stage, as JSON"},
			web.LandingLinks{Address: "/api/v1/hotspots", Text: "Hotspots", Description: "where in their code slow requests burn CPU, as JSON"},
		)
	}
	page, err := web.NewLandingPage(web.LandingConfig{
		Name:        "tcpslo_exporter",
		Description: "From the SYN to the SLO: what the TCP stack and Go's net/http do to each request.",
		Version:     version.Info(),
		Links:       links,
		ExtraHTML:   body.String(),
		Profiling:   "false",
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	page.ServeHTTP(w, r)
}
