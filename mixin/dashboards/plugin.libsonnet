// SPDX-License-Identifier: Apache-2.0

// What the datasource plugin makes of it all, with each type of query that it has: from the state of all SLOs to the
// single request. It needs the plugin; the other dashboards don't.
local dashboard = import '../lib/dashboard.libsonnet';
local plugin = import '../lib/plugin.libsonnet';

{
  local config = self._config,
  local ofSLO = { services: ['$service'], slos: ['$slo'] },
  local ofRoute = { services: ['$service'], paths: ['$path'] },
  local ofListener = { services: ['$service'], listeners: ['$listener'] },

  grafanaDashboards+:: {
    'tcpslo_plugin.json': dashboard.dashboard(
      'tcpslo / From the SLO to the request',
      'tcpslo-plugin',
      'Why an error budget burns: how all SLOs stand, what their bad events have in common, in which stage requests wait, and which requests those are.',
      config.dashboardTags,
      [
        plugin.variable('service', 'Service', 'services'),
        plugin.variable('slo', 'SLO', 'slos', ['$service']),
        plugin.variable('path', 'Route', 'routes', ['$service']),
        plugin.variable('listener', 'Listener', 'listeners', ['$service']),
      ],
      [
        dashboard.row('Objectives', [
          plugin.table('SLOs', 'Each SLO with its state, what is left of its budget and when that is used up; those of Sloth and Pyrra too.', plugin.query('slo_summary', ofSLO)),
          plugin.timeseries('Error budget left', 'The share of the error budget that is left, its forecast if bad events come as in the last six hours, and a budget that burns evenly.', plugin.query('budget', ofSLO), { min: null, max: 1 }),
          plugin.timeseries('Burn rate', 'How fast the budget burns, in units of what the alert of each tier needs: above 1 in both windows, it fires.', plugin.query('burn', ofSLO)) {
            // The answer has the state of each SLO too, which is no curve.
            transformations: [plugin.withTiers(true)],
          },
          plugin.stateTimeline('State', 'Whether each SLO burns: ok, increasing, critical, recovering.', plugin.query('burn', ofSLO)) {
            transformations: [plugin.withTiers(false)],
          },
        ]),
        dashboard.row('Causes', [
          plugin.table('Causes', 'What the bad events of the time range have in common that those of the range before had not: routes, statuses and stages, each with its PromQL.', plugin.query('causes', ofSLO { limit: 20 })),
        ]),
        dashboard.row('Where the time goes', [
          plugin.timeseries('Share of each stage', 'In which stage, from the SYN to the acknowledgement of the answer, requests spend their time.', plugin.query('latency_stages', ofRoute { mode: 'share' }), { max: 1, custom+: { fillOpacity: 80, lineWidth: 0, stacking: { mode: 'normal', group: 'A' } } }) {
            size:: { w: 12, h: 8 },
          },
          plugin.timeseries('p99 of each stage', 'The time below which 99 of 100 requests passed a stage.', plugin.query('latency_stages', ofRoute { mode: 'quantile', quantile: 0.99 })) {
            size:: { w: 12, h: 8 },
          },
          plugin.table('Slow requests', 'The slowest requests of the last hour, and where each of them waited. From the exporters.', plugin.query('requests', ofRoute { limit: 50 })),
          plugin.timeseries('Live', 'What the exporters tell, second by second: slow and failed requests, and the time that they spent in each stage.', plugin.query('live', { services: ['$service'] })) {
            size:: { w: 24, h: 8 },
          },
        ]),
        dashboard.row('Listeners', [
          plugin.timeseries('Listen queue', 'Accept queue and limit of each listener, refused connections, and when a queue that grows will overflow.', plugin.query('listen_queue', ofListener)),
          plugin.timeseries('Accept balance', 'The share of each worker and of each CPU in the connections of its listener.', plugin.query('accept_balance', ofListener), { max: 1 }),
          plugin.table('How even', 'Whether workers and CPUs share the connections of a listener evenly, over the whole time range.', plugin.query('accept_balance', ofListener)) {
            // The first frame of the answer is that of the curves.
            options+: { frameIndex: 1 },
            size:: { w: 8, h: 8 },
          },
        ]),
      ],
      source={ type: plugin.type, variable: 'slo_datasource' },
      annotation=plugin.breaches(ofSLO)
    ),
  },
}
