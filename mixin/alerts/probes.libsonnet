// SPDX-License-Identifier: Apache-2.0

// Whether the figures that all other alerts rely on are there and complete.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-probes',
      rules: [
        {
          alert: 'TcpsloProbeLost',
          // Whatever the variant: one may take the place of another. An exporter that does not answer has an alert of its own.
          expr: |||
            count without (variant) (last_over_time(%(info)s[%(lookback)s]))
            unless
            count without (variant) (%(info)s)
            and ignoring (probe, program)
            %(alive)s
          ||| % {
            info: series('tcpslo_probe_info'),
            lookback: threshold.probeLostLookback,
            alive: series('tcpslo_config_last_reload_successful'),
          },
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A BPF program that ran before is not attached any more.',
            description: 'The program {{ $labels.program }} of probe {{ $labels.probe }} on {{ $labels.instance }} is attached nowhere; it was in the last hours (variants: {{ $value }}).',
          },
        },
        {
          alert: 'TcpsloProbeDetached',
          // All programs at a hook of the kernel see the same events.
          expr: |||
            %(hits)s == 0
            and ignoring (probe, program)
            %(hits)s > %(runs)g
          ||| % { hits: series('program:tcpslo_probe_hits:increase15m'), runs: threshold.probeDetachedRuns },
          'for': '15m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A BPF program does not run although its hook is reached.',
            description: 'The program {{ $labels.program }} of probe {{ $labels.probe }} on {{ $labels.instance }} ran {{ $value }} times in 15 minutes at {{ $labels.variant }}, where others ran.',
          },
        },
        {
          alert: 'TcpsloRecordsLost',
          expr: |||
            rate(%s[5m]) > %g
          ||| % [
            series('tcpslo_lost_total', 'reason!~"%s"' % threshold.recordsLostIgnoredReasons),
            threshold.recordsLostPerSecond,
          ],
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A probe can not count all that it sees.',
            description: 'Probe {{ $labels.probe }} on {{ $labels.instance }} loses {{ $value | printf "%.2f" }} records each second ({{ $labels.reason }}): its figures are too low.',
          },
        },
        {
          alert: 'TcpsloProbeRunsSkipped',
          expr: |||
            rate(%s[5m]) / rate(%s[5m]) > %g
          ||| % [series('tcpslo_probe_misses_total'), series('tcpslo_probe_hits_total'), threshold.probeMissesShare],
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'The kernel skips runs of a BPF program.',
            description: 'The kernel skips {{ $value | humanizePercentage }} of the runs of the program {{ $labels.program }} of probe {{ $labels.probe }} on {{ $labels.instance }}: its figures are too low.',
          },
        },
        {
          alert: 'TcpsloMapNearlyFull',
          expr: '%s / %s > %g' % [series('tcpslo_map_entries'), series('tcpslo_map_capacity'), threshold.mapShare],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A BPF map will soon be full.',
            description: 'The map {{ $labels.map }} of probe {{ $labels.probe }} on {{ $labels.instance }} is filled to {{ $value | humanizePercentage }}.',
          },
        },
        {
          alert: 'TcpsloCollectorFailing',
          expr: series('tcpslo_collector_success') + ' == 0',
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A collector of the exporter fails.',
            description: 'The collector {{ $labels.collector }} on {{ $labels.instance }} fails (success is {{ $value }}): its figures are missing.',
          },
        },
        {
          alert: 'TcpsloConfigReloadFailed',
          expr: series('tcpslo_config_last_reload_successful') + ' == 0',
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'The exporter refused its new configuration.',
            description: 'The exporter on {{ $labels.instance }} refused its configuration (success is {{ $value }}) and goes on with the one before.',
          },
        },
      ],
    }],
  },
}
