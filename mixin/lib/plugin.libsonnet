// SPDX-License-Identifier: Apache-2.0

// Panels that ask the datasource plugin. Units, names, colours and thresholds come with its answers, and count
// before what a panel says.
local dashboard = import 'dashboard.libsonnet';

{
  type:: 'tcpslo-slo-datasource',

  // query is one of the types of grafana-plugin/pkg/models/query.go, with the fields that it has there.
  query(type, fields):: { queryType: type } + fields,

  // variable offers the names of one kind that the plugin knows, those of some services alone if any are given.
  variable(name, label, values, services=[]):: {
    name: name,
    label: label,
    type: 'query',
    query: { refId: 'variable', values: values, [if services != [] then 'services']: services },
    definition: values,
    refresh: 2,
    sort: 1,
    hide: 0,
    multi: true,
    includeAll: true,
    allValue: '.*',  // the plugin takes it for no restriction
    current: { selected: true, text: ['All'], value: ['$__all'] },
    options: [],
    regex: '',
  },

  // breaches marks when SLOs burned too fast.
  breaches(fields):: {
    name: 'Breaches',
    enable: true,
    iconColor: 'red',
    target: $.query('breaches', fields) { refId: 'Anno' },
  },

  timeseries(title, description, query, defaults={}):: dashboard.timeseries(title, description, 'short', [query]) {
    fieldConfig+: { defaults+: defaults },
  },

  table(title, description, query):: dashboard.panel('table', title, description, [query], {
    defaults: { unit: 'short', custom: { filterable: true } },
    overrides: [],
  }, { showHeader: true }) { size:: { w: 24, h: 8 } },

  stateTimeline(title, description, query):: dashboard.panel('state-timeline', title, description, [query], {
    defaults: { unit: 'short', custom: { fillOpacity: 70, lineWidth: 0 } },
    overrides: [],
  }, {
    alignValue: 'left',
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    mergeValues: true,
    rowHeight: 0.9,
    showValue: 'never',
    tooltip: { mode: 'single', sort: 'none' },
  }),

  // withTiers keeps the burn rates, whose names have a tier and a window, or all other fields. Without slashes
  // Grafana would want the whole name to match.
  withTiers(only)::
    local tiers = ' (fast|medium|slow|trickle) [0-9]+[mhd]( |$)';
    { id: 'filterFieldsByName', options: { include: { pattern: (if only then '/^Time$|%s/' else '/^(?!.*%s)/') % tiers } } },
}
