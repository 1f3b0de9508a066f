// SPDX-License-Identifier: Apache-2.0
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local labels = std.join(', ', config.aggregationLabels + ['service', 'slo']),

  // The burn rate is what the alert's value is, and it must be above the threshold of the tier three times: in the short
  // window, by the lower bound in the long one (so in the long one itself too), with enough bad events.
  local burn(tier) = {
    alert: 'TcpsloErrorBudgetBurn',
    expr: |||
      slo:tcpslo_slo_burn:ratio_rate%(long)s
      and
      slo:tcpslo_slo_burn_lower_bound:ratio_rate%(long)s > on (%(labels)s) slo:tcpslo_slo_burn_threshold:factor{burn_tier="%(name)s"}
      and
      slo:tcpslo_slo_burn:ratio_rate%(short)s > on (%(labels)s) slo:tcpslo_slo_burn_threshold:factor{burn_tier="%(name)s"}
      and
      slo:tcpslo_slo_bad_events:rate%(long)s * %(seconds)d >= %(minimum)d
    ||| % (tier { labels: labels, seconds: promql.seconds(tier.long), minimum: config.minimumBadEvents }),
    'for': tier['for'],
    [if tier.severity == 'page' then 'keep_firing_for']: config.keepFiringFor,
    labels: { severity: config.severities[tier.severity], burn_tier: tier.name, long: tier.long, short: tier.short },
    annotations: {
      summary: 'The error budget of a service burns too fast.',
      description: 'The error budget of the SLO {{ $labels.slo }} of {{ $labels.service }} burns {{ $value | printf "%%.1f" }} times faster than allowed, measured over %(long)s, and still did in the last %(short)s.' % tier,
    },
  },

  local budget = [
    {
      alert: 'TcpsloErrorBudgetExhausted',
      expr: |||
        slo:tcpslo_slo_error_budget_remaining:ratio <= 0
        and
        slo:tcpslo_slo_bad_events:increase_window >= %d
      ||| % config.minimumBadEvents,
      'for': config.exhaustedFor,
      labels: { severity: config.severities.ticket },
      annotations: {
        summary: 'The error budget of a service is used up.',
        description: 'Of the error budget of the SLO {{ $labels.slo }} of {{ $labels.service }}, {{ $value | humanizePercentage }} is left: the objective was missed in the last {{ $labels.window }}.',
      },
    },
    {
      alert: 'TcpsloErrorBudgetRunsOut',
      expr: |||
        slo:tcpslo_slo_error_budget_exhaustion:seconds < %d
        and
        slo:tcpslo_slo_error_budget_remaining:ratio > 0
        and on (%s)
        slo:tcpslo_slo_bad_events:rate%s * %d >= %d
      ||| % [
        promql.seconds(config.exhaustionForecast.within),
        labels,
        config.exhaustionForecast.window,
        promql.seconds(config.exhaustionForecast.window),
        config.minimumBadEvents,
      ],
      'for': config.exhaustionForecast['for'],
      labels: { severity: config.severities.ticket },
      annotations: {
        summary: 'The error budget of a service will soon be used up.',
        description: 'The error budget of the SLO {{ $labels.slo }} of {{ $labels.service }} over {{ $labels.window }} will be used up in {{ $value | humanizeDuration }} if requests fail as they did in the last %s.' % config.exhaustionForecast.window,
      },
    },
  ],

  local definitions = [
    // What an SLO promises is told for as long as the service is observed, whether it has requests or not: an idle service is not absent.
    {
      alert: 'TcpsloSLOAbsent',
      expr: |||
        slo:tcpslo_slo_objective_ratio:max offset %s
        unless
        slo:tcpslo_slo_objective_ratio:max
      ||| % config.sloAbsent.before,
      'for': config.sloAbsent['for'],
      labels: { severity: config.severities.ticket },
      annotations: {
        summary: 'No exporter tells of an SLO any more.',
        description: 'The SLO {{ $labels.slo }} of {{ $labels.service }}, that {{ $value | humanizePercentage }} of its events are good, is told by no exporter any more, but was within the last %s: the service is not running, not observed, or has another name.' % config.sloAbsent.before,
      },
    },
    {
      alert: 'TcpsloSLOWindowUnsupported',
      expr: 'slo:tcpslo_slo_window_seconds:max' + std.join('', [' != %d' % promql.seconds(window) for window in config.sloWindows]),
      'for': config.sloWindowUnsupportedFor,
      labels: { severity: config.severities.ticket },
      annotations: {
        summary: 'An SLO has a window that no rule computes a budget for.',
        description: 'The SLO {{ $labels.slo }} of {{ $labels.service }} looks back {{ $value | humanizeDuration }}, and the rules know %s only: its burn rate is watched, its error budget is not.' % std.join(', ', config.sloWindows),
      },
    },
  ],

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-slo',
      interval: config.intervals.fast,
      rules: [burn(tier) for tier in config.burnTiers] + budget + definitions,
    }],
  },
}
