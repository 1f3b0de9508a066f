// SPDX-License-Identifier: Apache-2.0

// Grafana dashboards as JSON, as much of it as ours need. It isn't grafonnet: that calls itself experimental, comes from git by
// jsonnet-bundler, and is 2.5 MB for a version of Grafana; what a dashboard is made of has been the same
// since schema version 39 (Grafana 10.4), which later ones take and bring up to date.
local panel(kind, title, description, targets, fieldConfig, options) = {
  type: kind,
  title: title,
  description: description,
  targets: std.mapWithIndex(
    // A, B, C, ... as Grafana calls them.
    function(i, target) target { refId: std.char(std.codepoint('A') + i) },
    targets
  ),
  fieldConfig: fieldConfig,
  options: options,
  // How much of the 24 columns and how many rows it takes; other than that, the grid is laid out by itself.
  size:: { w: 8, h: 8 },
};

// layout puts the panels of a row side by side, and goes on below where they don't fit.
local layout(panels, y) = std.foldl(
  function(state, p)
    local fits = state.x + p.size.w <= 24;
    local at = if fits then { x: state.x, y: state.y } else { x: 0, y: state.y + state.h };
    {
      x: at.x + p.size.w,
      y: at.y,
      h: if fits then std.max(state.h, p.size.h) else p.size.h,
      done: state.done + [p { gridPos: { x: at.x, y: at.y, w: p.size.w, h: p.size.h } }],
    },
  panels,
  { x: 0, y: y, h: 0, done: [] }
);

local place(rows) = std.foldl(
  function(state, row)
    local placed = layout(row.panels, state.y + 1);
    {
      y: placed.y + placed.h,
      done: state.done + [
        { type: 'row', title: row.title, collapsed: false, panels: [], gridPos: { x: 0, y: state.y, w: 24, h: 1 } },
      ] + placed.done,
    },
  rows,
  { y: 0, done: [] }
).done;

// chosen is the variable that says which data source is asked. `source` has its name and the type of what it
// offers; two types have variables of two names, because links between dashboards take the values along.
local chosen(source) = {
  name: source.variable,
  label: 'Data source',
  type: 'datasource',
  query: source.type,
  refresh: 1,
  hide: 0,
  includeAll: false,
  multi: false,
  options: [],
  regex: '',
  current: {},
};

// asking sends what asks for data to the data source that is chosen at the top of the dashboard.
local asking(source, things) =
  local datasource = { type: source.type, uid: '${%s}' % source.variable };
  [
    thing {
      datasource: datasource,
      [if 'targets' in thing then 'targets']: [target { datasource: datasource } for target in super.targets],
    }
    for thing in things
  ];

{
  // What a request goes through, from the SYN to the acknowledgement of the answer, always in the same colours: of the
  // kernel blue, of the Go runtime yellow to orange, of the service green, of the network purple.
  stageColors:: {
    handshake: 'light-purple',
    accept_queue: 'blue',
    read_wait: 'yellow',
    parse: 'orange',
    handler: 'green',
    first_packet: 'light-blue',
    ack: 'purple',
    kernel: 'blue',
    poller: 'yellow',
    run_queue: 'orange',
  },

  // Where alerts fired, for the time axis of all panels.
  alerts:: {
    name: 'Alerts',
    enable: true,
    iconColor: 'red',
    expr: 'ALERTS{alertname=~"Tcpslo.*", alertstate="firing"}',
    titleFormat: '{{alertname}}',
    textFormat: '{{service}} {{instance}}',
    step: '60s',
  },

  // dashboard: its uid is its address in Grafana, which links and bookmarks rely on. It asks one data source, the
  // variable that comes before those given.
  dashboard(title, uid, description, tags, variables, rows, source={ type: 'prometheus', variable: 'datasource' }, annotation=self.alerts):: {
    title: title,
    uid: uid,
    description: description,
    tags: tags,
    schemaVersion: 39,
    editable: true,
    graphTooltip: 1,  // one crosshair for all panels
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    links: [{
      type: 'dashboards',
      title: 'tcpslo',
      tags: tags,
      asDropdown: true,
      includeVars: true,
      keepTime: true,
      icon: 'external link',
    }],
    annotations: { list: asking(source, [annotation]) },
    templating: { list: [chosen(source)] + asking(source, variables) },
    panels: std.mapWithIndex(function(i, p) p { id: i + 1 }, place([row { panels: asking(source, row.panels) } for row in rows])),
  },

  panel:: panel,

  row(title, panels):: { title: title, panels: panels },

  // target is a query over the time range; `legend` is its series' name.
  target(expr, legend):: { expr: expr, legendFormat: legend, range: true, instant: false, exemplar: false },
  // exemplars shows some of the requests that a series is made of as points.
  exemplars(target):: target { exemplar: true },
  // cells is a query of the latest value of each series, in columns of a table.
  cells(expr):: { expr: expr, format: 'table', legendFormat: '', range: false, instant: true, exemplar: false },
  // buckets is a query of the buckets of a classic histogram, by le.
  buckets(expr):: { expr: expr, format: 'heatmap', legendFormat: '{{le}}', range: true, instant: false, exemplar: false },

  timeseries(title, description, unit, targets, stack=false, max=null, colors={}, threshold=null):: panel(
    'timeseries', title, description, targets, {
      defaults: {
        unit: unit,
        min: 0,
        [if max != null then 'max']: max,
        color: { mode: 'palette-classic' },
        [if threshold != null then 'thresholds']: { mode: 'absolute', steps: [{ color: 'transparent', value: null }, { color: 'red', value: threshold }] },
        custom: {
          drawStyle: 'line',
          lineWidth: 1,
          fillOpacity: if stack then 60 else 10,
          showPoints: 'never',
          spanNulls: false,
          stacking: { mode: if stack then 'normal' else 'none', group: 'A' },
          [if threshold != null then 'thresholdsStyle']: { mode: 'line' },
        },
      },
      overrides: [
        { matcher: { id: 'byName', options: name }, properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: colors[name] } }] }
        for name in std.objectFields(colors)
      ],
    }, {
      legend: { displayMode: 'table', placement: 'bottom', calcs: ['mean', 'max', 'lastNotNull'], showLegend: true },
      tooltip: { mode: 'multi', sort: 'desc' },
    }
  ),

  // stat is one number; it turns yellow and red where `warn` and `bad` say, from below if bad is less than warn.
  stat(title, description, unit, expr, warn=null, bad=null, decimals=null):: panel(
    'stat', title, description, [$.target(expr, '')], {
      defaults: {
        unit: unit,
        [if decimals != null then 'decimals']: decimals,
        color: { mode: if warn == null then 'palette-classic' else 'thresholds' },
        [if warn != null then 'thresholds']: {
          mode: 'absolute',
          steps: if bad > warn
          then [{ color: 'green', value: null }, { color: 'yellow', value: warn }, { color: 'red', value: bad }]
          else [{ color: 'red', value: null }, { color: 'yellow', value: bad }, { color: 'green', value: warn }],
        },
      },
      overrides: [],
    }, {
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      colorMode: 'value',
      graphMode: 'area',
      textMode: 'auto',
    }
  ) { size:: { w: 4, h: 4 } },

  // table has a row for each combination of labels and a column for each of columns, a list of { name, unit, expr }. A label in
  // links leads to the address there.
  table(title, description, labels, columns, links={}):: panel(
    'table', title, description, [$.cells(column.expr) for column in columns], {
      defaults: { unit: columns[0].unit, custom: { filterable: true } },
      overrides: std.mapWithIndex(
        function(i, column) {
          matcher: { id: 'byName', options: if std.length(columns) == 1 then 'Value' else 'Value #' + std.char(std.codepoint('A') + i) },
          properties: [{ id: 'displayName', value: column.name }, { id: 'unit', value: column.unit }],
        },
        columns
      ) + [
        { matcher: { id: 'byName', options: label }, properties: [{ id: 'links', value: [links[label]] }] }
        for label in std.objectFields(links)
      ],
    }, {
      showHeader: true,
      sortBy: [{ displayName: columns[0].name, desc: true }],
    }
  ) {
    // Series that have the same labels become one row, and only these labels are shown.
    transformations: [
      { id: 'merge', options: {} },
      { id: 'filterFieldsByName', options: { include: { pattern: '^(%s|Value.*)$' % std.join('|', labels) } } },
    ],
    size:: { w: 24, h: 8 },
  },

  heatmap(title, description, unit, expr):: panel(
    'heatmap', title, description, [$.buckets(expr)], {
      defaults: { unit: unit, custom: { scaleDistribution: { type: 'linear' } } },
      overrides: [],
    }, {
      calculate: false,
      cellGap: 1,
      color: { mode: 'scheme', scheme: 'Oranges', steps: 64, exponent: 0.5, fill: 'dark-orange' },
      filterValues: { le: 1e-9 },
      legend: { show: true },
      rowsFrame: { layout: 'auto' },
      tooltip: { mode: 'single', yHistogram: false },
      yAxis: { axisPlacement: 'left', unit: unit },
    }
  ),

  // variable offers the values of a label of one metric. That metric should have few series: Grafana asks for it each
  // time the time range changes.
  variable(name, label, metric, multi=true):: {
    name: name,
    label: label,
    type: 'query',
    query: { query: 'label_values(%s, %s)' % [metric, name], refId: 'variable' },
    definition: 'label_values(%s, %s)' % [metric, name],
    refresh: 2,
    sort: 1,
    hide: 0,
    multi: multi,
    includeAll: multi,
    // Everything, with what has no such label: services that are not known.
    [if multi then 'allValue']: '.*',
    current: if multi then { selected: true, text: ['All'], value: ['$__all'] } else {},
    options: [],
    regex: '',
  },
}
