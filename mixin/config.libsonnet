// SPDX-License-Identifier: Apache-2.0

// Every knob of the mixin, and why it stands where it stands. Change one with
//   (import 'mixin.libsonnet') + { _config+:: { KNOB: VALUE } }
{
  _config+:: {
    // Which series of the exporter the rules read, as matchers without braces. The names of the metrics
    // are the exporter's own, so that all of them are right for most; 'cluster="eu"' where a
    // Prometheus has those of several clusters and only one is wanted.
    tcpsloSelector: '',

    // The target of the exporter, for what is asked of `up`: Prometheus gives `up` to targets that it can't
    // scrape too, and so it is the only heartbeat that doesn't die with what it watches.
    exporterSelector: 'job="tcpslo"',

    // Labels beside service and slo that tell one SLO from another, such as ['cluster'] or ['namespace'].
    // None by default: an SLO is about a service, wherever it runs, and a label that some
    // series lack splits a budget in two.
    aggregationLabels: [],

    // %s is the name of the alert in lower case, which is what GitHub makes of a heading.
    runbookURL: 'https://github.com/tcpslo/tcpslo/blob/main/mixin/runbook.md#%s',

    // What a page and a ticket are called in the label severity. Alertmanager routes by it.
    severities: { page: 'critical', ticket: 'warning' },

    // The tiers of "The Site Reliability Workbook", chapter 5 (multiwindow, multi-burn-rate alerts): a tier
    // fires when `share` of the error budget burns within `long`, and still burns as fast within `short`,
    // a twelfth of it, which makes it end soon after the burning does. How fast that is follows from the
    // window of the SLO: for 30 days it is 14.4, 6, 3 and 1 times as fast as allowed. `for` keeps out
    // what a single scrape shows; it is short against `long`.
    burnTiers: [
      { name: 'fast', share: 0.02, long: '1h', short: '5m', 'for': '2m', severity: 'page' },
      { name: 'medium', share: 0.05, long: '6h', short: '30m', 'for': '15m', severity: 'page' },
      { name: 'slow', share: 0.1, long: '1d', short: '2h', 'for': '1h', severity: 'ticket' },
      { name: 'trickle', share: 0.1, long: '3d', short: '6h', 'for': '3h', severity: 'ticket' },
    ],

    // A page goes on for so long after it has ceased to be true, so that a service that fails by fits and
    // starts is one page and not ten.
    keepFiringFor: '10m',

    // The windows that SLOs may have (`window:` in tcpslo.yml). PromQL takes no window from a metric, so each
    // has rules of its own, however many SLOs there are; an SLO with another window has an alert that
    // says so and no budget. Each costs a few thousand samples for an SLO every few minutes.
    sloWindows: ['7d', '14d', '28d', '30d'],

    // The shortest window, which rates by path are recorded for too. Four scrapes must fit into it.
    rateWindow: '5m',

    // Up to here a window is read from the raw counters, so that an alert that pages loses no time: a page by
    // staged rates comes two minutes later. Longer ones are made of recorded increases, which costs
    // the same whatever the number of routes and hosts.
    longestRawWindow: '6h',

    // How late the recorded increases are. All that Prometheus has scraped before must be stored by then, or it is in none of
    // them: longer than a scrape may take.
    increaseDelay: '1m',

    // How far back the counters' last values are looked for where the exporter or Prometheus was away: what was counted meanwhile is in the
    // next increase.
    increaseLookback: '1h',

    // Up to here a window is evaluated as often as the alerts are.
    longestFastWindow: '1h',

    // How often windows are evaluated: those up to `longestFastWindow`, the other raw ones, and those that are made of
    // recorded increases. All are below five minutes, because Prometheus forgets a value after that, and a value
    // that is missing for a second starts the `for` of an alert anew.
    intervals: { fast: '30s', raw: '2m', staged: '4m' },

    // Low traffic. One failed request of two is no proof that half of them fail, so the burn rate must be
    // above the threshold by its Wilson lower bound (z standard deviations below what was seen; 1.64: true 95
    // times of 100), and at least so many events must have been bad.
    wilsonZ: 1.64,
    minimumBadEvents: 5,

    // A forecast says how long the budget lasts if bad events come as in the last `window`, and is worth a
    // ticket below `within`: a long weekend.
    exhaustionForecast: { window: '6h', within: '3d', 'for': '1h' },

    // How long the budget must have been used up: two evaluations.
    exhaustedFor: '10m',

    // A target that can't be scraped for this long is down, and not being restarted.
    exporterDownFor: '5m',

    // An SLO of which nobody has told for `for`, although someone did `before`. It must be longer than a deployment takes;
    // after `before` it is taken to have been removed on purpose.
    sloAbsent: { before: '1h', 'for': '20m' },

    // An SLO with a window that is not in `sloWindows` stays so until somebody changes it: no hurry.
    sloWindowUnsupportedFor: '15m',
  },
}
