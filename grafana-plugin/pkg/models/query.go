// SPDX-License-Identifier: Apache-2.0

// Package models is what the frontend and the backend of the plugin agree on: the JSON
// of a query and of the datasource's settings.
package models

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Query types: the value of "queryType" in a query's JSON.
const (
	SLOSummary    = "slo_summary"    // table: a row for each SLO
	Budget        = "budget"         // remaining error budget over time, with its forecast
	Burn          = "burn"           // burn rate of each alert tier in units of its threshold, and the burn state
	LatencyStages = "latency_stages" // where the time of requests goes, stage by stage
	AcceptBalance = "accept_balance" // share of connections of each accepting worker and CPU
	ListenQueue   = "listen_queue"   // accept queue, its limit, refusals, time to overflow
	Causes        = "causes"         // table: what the bad events have in common, ranked
	Breaches      = "breaches"       // annotations: when an SLO burned too fast
	Requests      = "requests"       // table and trace: slow requests, from the exporters
	Live          = "live"           // stream at 1 s, from the exporters
)

// Types lists all query types.
var Types = []string{SLOSummary, Budget, Burn, LatencyStages, AcceptBalance, ListenQueue, Causes, Breaches, Requests, Live}

// Modes of LatencyStages.
const (
	ModeShare    = "share"    // share of each stage in the time of all requests, 0 to 1
	ModeQuantile = "quantile" // quantile of each stage, seconds
)

// Limits of a query.
const (
	DefaultLimit    = 20
	MaxLimit        = 1000
	DefaultQuantile = 0.99
)

// Query is one query of a panel. A field that a query type doesn't know is ignored,
// and an empty list or string is as good as none: all are meant. Template variables have been
// replaced by the frontend. Values are compared as they are, never as patterns.
type Query struct {
	// RefID names the query within its panel.
	RefID string `json:"refId"`
	// QueryType is one of Types; empty is SLOSummary.
	QueryType string `json:"queryType"`
	// Services, SLOs, Paths and Listeners each allow any of their values. The single
	// string beside each list is one more of it.
	Services  []string `json:"services,omitempty"`
	SLOs      []string `json:"slos,omitempty"`
	Paths     []string `json:"paths,omitempty"`
	Listeners []string `json:"listeners,omitempty"`
	Service   string   `json:"service,omitempty"`
	SLO       string   `json:"slo,omitempty"`
	Path      string   `json:"path,omitempty"`
	Listener  string   `json:"listener,omitempty"`
	// NetNS is the network namespace of listeners; "" is any.
	NetNS string `json:"netns,omitempty"`
	// Mode is ModeShare (the default) or ModeQuantile; for LatencyStages.
	Mode string `json:"mode,omitempty"`
	// Quantile is above 0 and below 1, DefaultQuantile by default; for ModeQuantile.
	Quantile float64 `json:"quantile,omitempty"`
	// Limit is the largest number of rows, 1 to MaxLimit, DefaultLimit by default;
	// for Causes and Requests.
	Limit int `json:"limit,omitempty"`
	// Exporter is the base URL of one of the exporters in the settings, empty for all; for
	// Requests and Live.
	Exporter string `json:"exporter,omitempty"`
}

// ParseQuery reads a query and fills in what it leaves out. queryType is that of Grafana's
// own envelope, and counts where the JSON has none. The error says what is wrong and what is allowed.
func ParseQuery(text []byte, queryType string) (Query, error) {
	var q Query
	if err := json.Unmarshal(text, &q); err != nil {
		return q, fmt.Errorf("query cannot be read: %w", err)
	}
	if q.QueryType == "" {
		q.QueryType = queryType
	}
	q.fill()
	return q, q.validate()
}

func (q *Query) fill() {
	if q.QueryType == "" {
		q.QueryType = SLOSummary
	}
	if q.Mode == "" {
		q.Mode = ModeShare
	}
	if q.Quantile == 0 {
		q.Quantile = DefaultQuantile
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	for _, both := range []struct {
		one  *string
		list *[]string
	}{{&q.Service, &q.Services}, {&q.SLO, &q.SLOs}, {&q.Path, &q.Paths}, {&q.Listener, &q.Listeners}} {
		list := slices.DeleteFunc(append(slices.Clone(*both.list), *both.one), func(s string) bool { return s == "" })
		slices.Sort(list) // one order, so that one question has one key in the cache
		*both.list, *both.one = slices.Compact(list), ""
	}
	q.Exporter = strings.TrimRight(q.Exporter, "/")
}

func (q *Query) validate() error {
	switch {
	case !slices.Contains(Types, q.QueryType):
		return fmt.Errorf("query type %q is not known, want one of %s", q.QueryType, strings.Join(Types, ", "))
	case q.Mode != ModeShare && q.Mode != ModeQuantile:
		return fmt.Errorf("mode must be %q or %q, got %q", ModeShare, ModeQuantile, q.Mode)
	case !(q.Quantile > 0 && q.Quantile < 1):
		return fmt.Errorf("quantile must be above 0 and below 1, got %g", q.Quantile)
	case q.Limit < 1 || q.Limit > MaxLimit:
		return fmt.Errorf("limit must be 1 to %d, got %d", MaxLimit, q.Limit)
	}
	return nil
}
