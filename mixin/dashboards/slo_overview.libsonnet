// SPDX-License-Identifier: Apache-2.0

// How all SLOs stand, which of them burn, and by which route.
local dashboard = import '../lib/dashboard.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local of(name) = name + promql.selector(['service=~"$service"', 'slo=~"$slo"']),
  local legend = '{{service}} {{slo}}',
  local column(name, unit, expr) = { name: name, unit: unit, expr: expr },
  local slo = 'max by (service, slo) (%s)',

  grafanaDashboards+:: {
    'tcpslo_slo_overview.json': dashboard.dashboard(
      'tcpslo / SLO overview',
      'tcpslo-slo-overview',
      'Error budgets of all services: what is left, how fast it burns, and which routes burn it.',
      config.dashboardTags,
      [
        dashboard.variable('service', 'Service', 'slo:tcpslo_slo_objective_ratio:max'),
        dashboard.variable('slo', 'SLO', 'slo:tcpslo_slo_objective_ratio:max{service=~"$service"}'),
      ],
      [
        dashboard.row('Now', [
          dashboard.stat(
            'Budgets used up',
            'How many SLOs have no error budget left: more was bad in their window than may be.',
            'none',
            'count(%s <= 0) or vector(0)' % of('slo:tcpslo_slo_error_budget_remaining:ratio'),
            1,
            2
          ),
          dashboard.stat(
            'Smallest budget left',
            'The share of its error budget that the worst SLO has left.',
            'percentunit',
            'min(%s)' % of('slo:tcpslo_slo_error_budget_remaining:ratio'),
            0.5,
            0.1
          ),
          dashboard.stat(
            'Fastest burn, 1 h',
            'How many times faster than allowed the worst SLO burned its budget in the last hour: at 1 the budget lasts for exactly its window.',
            'none',
            'max(%s)' % of('slo:tcpslo_slo_burn:ratio_rate1h'),
            1,
            6,
            1
          ),
          dashboard.stat(
            'First used up in',
            'How long the budget that ends first lasts, if bad events come as in the last six hours.',
            's',
            'min(%s)' % of('slo:tcpslo_slo_error_budget_exhaustion:seconds'),
            604800,
            86400
          ),
          dashboard.stat(
            'Requests',
            'Events that the SLOs have judged each second.',
            'reqps',
            'sum(%s)' % of('slo:tcpslo_slo_events:rate5m')
          ),
          dashboard.stat(
            'Alerts firing',
            'Alerts of tcpslo that fire now, of all services.',
            'none',
            'count(ALERTS{alertname=~"Tcpslo.*", alertstate="firing"}) or vector(0)',
            1,
            5
          ),
          dashboard.table(
            'SLOs',
            'Each SLO with its objective, what is left of its budget, how fast it burns, and how long it lasts if bad events come as in the last six hours.',
            ['service', 'slo'],
            [
              column('Budget left', 'percentunit', slo % of('slo:tcpslo_slo_error_budget_remaining:ratio')),
              column('Objective', 'percentunit', slo % of('slo:tcpslo_slo_objective_ratio:max')),
              column('Good in its window', 'percentunit', '1 - ' + slo % of('slo:tcpslo_slo_error:ratio_window')),
              column('Burn, 1 h', 'none', slo % of('slo:tcpslo_slo_burn:ratio_rate1h')),
              column('Burn, 3 d', 'none', slo % of('slo:tcpslo_slo_burn:ratio_rate3d')),
              column('Used up in', 's', slo % of('slo:tcpslo_slo_error_budget_exhaustion:seconds')),
              column('Window', 's', slo % of('slo:tcpslo_slo_window_seconds:max')),
              column('Observed', 'percentunit', slo % of('slo:tcpslo_slo_window_observed:ratio')),
            ],
            links={ service: { title: 'Where its time goes', url: '/d/tcpslo-service?var-service=${__data.fields.service}&${datasource:queryparam}&${__url_time_range}' } }
          ),
        ]),
        dashboard.row('Budgets', [
          dashboard.timeseries(
            'Error budget left',
            'The share of the error budget that is left. Below 0 the objective is missed.',
            'percentunit',
            [dashboard.target(slo % of('slo:tcpslo_slo_error_budget_remaining:ratio'), legend)]
          ) { fieldConfig+: { defaults+: { min: null, max: 1 } } },
          dashboard.timeseries(
            'Burn rate, 5 min',
            'How many times faster than allowed the budget burns, in the last five minutes.',
            'none',
            [dashboard.target(of('slo:tcpslo_slo_burn:ratio_rate5m'), legend)]
          ),
          dashboard.timeseries(
            'Burn rate, 1 h and 6 h',
            'The windows that page: an alert fires above its factor, which follows from the window of the SLO (14.4 and 6 for 30 days).',
            'none',
            [
              dashboard.target(of('slo:tcpslo_slo_burn:ratio_rate1h'), legend + ' 1 h'),
              dashboard.target(of('slo:tcpslo_slo_burn:ratio_rate6h'), legend + ' 6 h'),
            ]
          ),
        ]),
        dashboard.row('Events', [
          dashboard.timeseries(
            'Events',
            'What the SLOs have judged each second.',
            'reqps',
            [dashboard.target(of('slo:tcpslo_slo_events:rate5m'), legend)]
          ),
          dashboard.timeseries(
            'Bad events',
            'What the SLOs have judged to be bad each second.',
            'reqps',
            [dashboard.target(of('slo:tcpslo_slo_bad_events:rate5m'), legend)]
          ),
          dashboard.timeseries(
            'Bad events by route',
            'The ten routes with the most bad events, each second.',
            'reqps',
            [dashboard.target('topk(10, %s)' % ('slo_path_verdict:tcpslo_slo_events:rate5m' + promql.selector(['service=~"$service"', 'slo=~"$slo"', 'verdict="bad"'])), legend + ' {{path}}')]
          ),
          dashboard.table(
            'What used up the budget',
            'Bad events by route within the time range of the dashboard: the routes to look at first.',
            ['service', 'slo', 'path'],
            [column('Bad events', 'none', 'topk(20, sum by (service, slo, path) (sum_over_time(%s[$__range])))' % of('slo_path:tcpslo_slo_bad_events:increase' + config.intervals.staged))]
          ),
        ]),
      ]
    ),
  },
}
