// SPDX-License-Identifier: Apache-2.0

// SLOs are series, so these rules are the same in number whatever the number of SLOs: what
// differs from one to another, objective and window, is joined from the metrics that tell it.
//
// Ratios are of events, never averages of ratios: bad events of a window divided by all events of
// that window. Where a service is idle the ratio is 0, and nothing is divided by 0.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local seconds = promql.seconds,
  local labels = std.join(', ', config.aggregationLabels + ['service', 'slo']),

  local events = 'tcpslo_slo_events_total' + promql.selector([config.tcpsloSelector]),
  local badEvents = 'tcpslo_slo_events_total' + promql.selector([config.tcpsloSelector, 'verdict="bad"']),
  local gauge(name) = name + promql.selector([config.tcpsloSelector]),

  local record(name, expr, extra={}) = { record: name, expr: expr } + (if extra == {} then {} else { labels: extra }),

  local longs = std.set([tier.long for tier in config.burnTiers]),
  local windows = std.set(
    longs + [tier.short for tier in config.burnTiers] + [config.exhaustionForecast.window, config.rateWindow],
    seconds
  ),
  local isRaw(window) = seconds(window) <= seconds(config.longestRawWindow),
  local isFast(window) = seconds(window) <= seconds(config.longestFastWindow),
  local step = config.intervals.staged,

  // What an SLO is. During the rollout of a changed one hosts disagree: the strictest objective and the longest window
  // hold, for an alert that comes too early tells of it, and one that doesn't come tells nothing.
  local definitions = [
    record('slo:tcpslo_slo_objective_ratio:max', 'max by (%s) (%s)' % [labels, gauge('tcpslo_slo_objective_ratio')]),
    record('slo:tcpslo_slo_window_seconds:max', 'max by (%s) (%s)' % [labels, gauge('tcpslo_slo_window_seconds')]),
    record('slo:tcpslo_slo_error_budget:ratio', '1 - slo:tcpslo_slo_objective_ratio:max'),
  ] + [
    // Below 1 the budget is never used up, so no tier of a short window fires there.
    record(
      'slo:tcpslo_slo_burn_threshold:factor',
      'clamp_min(%g * slo:tcpslo_slo_window_seconds:max / %d, 1)' % [tier.share, seconds(tier.long)],
      { burn_tier: tier.name, long: tier.long, short: tier.short }
    )
    for tier in config.burnTiers
  ],

  // Events a second in a window. A service in which nothing has gone wrong may have no bad events at
  // all, rather than 0 of them.
  local rates(window) =
    if window == config.rateWindow then [
      record('slo_path_verdict:tcpslo_slo_events:rate' + window, 'sum by (%s, path, verdict) (rate(%s[%s]))' % [labels, events, window]),
      record('slo:tcpslo_slo_events:rate' + window, 'sum by (%s) (slo_path_verdict:tcpslo_slo_events:rate%s)' % [labels, window]),
      record('slo:tcpslo_slo_bad_events:rate' + window, |||
        sum by (%(labels)s) (slo_path_verdict:tcpslo_slo_events:rate%(window)s{verdict="bad"})
        or
        0 * slo:tcpslo_slo_events:rate%(window)s
      ||| % { labels: labels, window: window }),
    ]
    else if isRaw(window) then [
      record('slo:tcpslo_slo_events:rate' + window, 'sum by (%s) (rate(%s[%s]))' % [labels, events, window]),
      record('slo:tcpslo_slo_bad_events:rate' + window, |||
        sum by (%s) (rate(%s[%s]))
        or
        0 * slo:tcpslo_slo_events:rate%s
      ||| % [labels, badEvents, window, window]),
    ]
    else [
      record('slo:tcpslo_slo_%s:rate%s' % [kind, window], 'sum_over_time(slo:tcpslo_slo_%s:increase%s[%s]) / %d' % [kind, step, window, seconds(window)])
      for kind in ['events', 'bad_events']
    ],

  // The share of a window's events that were bad, and how many times faster than allowed that burns the budget.
  local burning(window) = [
    record('slo:tcpslo_slo_error:ratio_rate' + window, |||
      slo:tcpslo_slo_bad_events:rate%(window)s / (slo:tcpslo_slo_events:rate%(window)s > 0)
      or
      slo:tcpslo_slo_events:rate%(window)s == 0
    ||| % { window: window }),
    record(
      'slo:tcpslo_slo_burn:ratio_rate' + window,
      'slo:tcpslo_slo_error:ratio_rate%s / slo:tcpslo_slo_error_budget:ratio' % window
    ),
  ],

  // How fast it burns at least: Wilson's lower bound of the ratio, written with the number of bad events so that nothing
  // is divided by few, in budgets. "Probable Inference, the Law of Succession, and Statistical
  // Inference", Journal of the American Statistical Association 22, 1927.
  local lowerBound(window) = record('slo:tcpslo_slo_burn_lower_bound:ratio_rate' + window, |||
    slo:tcpslo_slo_burn:ratio_rate%(window)s
      * (slo:tcpslo_slo_bad_events:rate%(window)s * %(seconds)d)
      / (
        slo:tcpslo_slo_bad_events:rate%(window)s * %(seconds)d + %(halfSquare)g
        + %(z)g * sqrt(slo:tcpslo_slo_bad_events:rate%(window)s * %(seconds)d * (1 - slo:tcpslo_slo_error:ratio_rate%(window)s) + %(quarterSquare)g)
      )
  ||| % {
    window: window,
    seconds: seconds(window),
    z: config.wilsonZ,
    halfSquare: config.wilsonZ * config.wilsonZ / 2,
    quarterSquare: config.wilsonZ * config.wilsonZ / 4,
  }),

  local window(name) = rates(name) + burning(name) + (if std.setMember(name, longs) then [lowerBound(name)] else []),

  // Events since the last evaluation, as the difference of two readings of each counter: what one ends with the next begins
  // with, so they add up to what was counted, to the event. No rate does, which extrapolates to the ends of its window. A reading
  // is the last one that there was, so that scrapes may fail. Where there are no two, or the counter has begun anew, it is what
  // Prometheus makes of its samples. The readings are late by `increaseDelay`, as a sample has the time at which its scrape began and is there when that has ended.
  local since(counter) = |||
    last_over_time(%(counter)s[%(step)s] offset %(delay)s) - last_over_time(%(counter)s[%(lookback)s] offset %(before)s) > 0
    or
    increase(%(counter)s[%(step)s] offset %(delay)s)
  ||| % {
    counter: counter,
    step: step,
    lookback: config.increaseLookback,
    delay: config.increaseDelay,
    before: promql.duration(seconds(config.increaseDelay) + seconds(step)),
  },
  local summed(by, counter) = 'sum by (%s) (\n%s)' % [by, std.join('', ['  %s\n' % line for line in std.split(std.rstripChars(since(counter), '\n'), '\n')])],

  local increases = [
    record('slo:tcpslo_slo_events:increase' + step, summed(labels, events) + '\n'),
    // Only routes with bad events, to name those that have used up a budget.
    record('slo_path:tcpslo_slo_bad_events:increase' + step, summed(labels + ', path', badEvents) + ' > 0\n'),
    record('slo:tcpslo_slo_bad_events:increase' + step, |||
      sum by (%(labels)s) (slo_path:tcpslo_slo_bad_events:increase%(step)s)
      or
      0 * slo:tcpslo_slo_events:rate%(window)s
    ||| % { labels: labels, step: step, window: config.rateWindow }),
  ],

  // Events in the whole window of an SLO: for each window that SLOs may have, of the SLOs that have it.
  local sloWindow(window) =
    local those = 'slo:tcpslo_slo_window_seconds:max == %d' % seconds(window);
    [
      record('slo:tcpslo_slo_%s:increase_window' % kind, |||
        sum_over_time(slo:tcpslo_slo_%s:increase%s[%s])
        and
        %s
        or
        0 * (%s)
      ||| % [kind, step, window, those, those], { window: window })
      for kind in ['events', 'bad_events']
    ] + [
      // The share of the window that was observed: less than 1 in the first weeks, and where Prometheus or the exporter was away.
      record('slo:tcpslo_slo_window_observed:ratio', |||
        count_over_time(slo:tcpslo_slo_events:increase%s[%s]) * %d / %d
        and
        %s
      ||| % [step, window, seconds(step), seconds(window), those], { window: window }),
    ],

  local budget = [
    record('slo:tcpslo_slo_error:ratio_window', |||
      slo:tcpslo_slo_bad_events:increase_window / (slo:tcpslo_slo_events:increase_window > 0)
      or
      slo:tcpslo_slo_events:increase_window == 0
    |||),
    record(
      'slo:tcpslo_slo_error_budget_remaining:ratio',
      '1 - slo:tcpslo_slo_error:ratio_window / on (%s) group_left () slo:tcpslo_slo_error_budget:ratio' % labels
    ),
    // What is left of the bad events that a whole window allows at the traffic that was observed, divided by how many come a
    // second. By events and not by time: at night a burn rate of 100 may cost less than one of 2 by day.
    record('slo:tcpslo_slo_error_budget_exhaustion:seconds', |||
      clamp_min(slo:tcpslo_slo_error_budget_remaining:ratio, 0)
        * slo:tcpslo_slo_events:increase_window / slo:tcpslo_slo_window_observed:ratio
        * on (%(labels)s) group_left () slo:tcpslo_slo_error_budget:ratio
        / on (%(labels)s) group_left () (slo:tcpslo_slo_bad_events:rate%(window)s > 0)
    ||| % { labels: labels, window: config.exhaustionForecast.window }),
  ],

  prometheusRules+:: {
    groups+: [
      {
        name: 'tcpslo-slo-fast',
        interval: config.intervals.fast,
        rules: definitions + std.flatMap(window, [w for w in windows if isFast(w)]),
      },
      {
        name: 'tcpslo-slo-raw',
        interval: config.intervals.raw,
        rules: std.flatMap(window, [w for w in windows if isRaw(w) && !isFast(w)]),
      },
      {
        name: 'tcpslo-slo-staged',
        interval: config.intervals.staged,
        rules: increases + std.flatMap(window, [w for w in windows if !isRaw(w)]) + std.flatMap(sloWindow, config.sloWindows) + budget,
      },
    ],
  },
}
