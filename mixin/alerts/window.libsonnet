// SPDX-License-Identifier: Apache-2.0

// Senders that have to wait because a service reads too slowly.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-window',
      rules: [
        {
          alert: 'TcpsloReceiveWindowCollapses',
          expr: 'rate(%s[5m]) > %g' % [series('tcpslo_receive_window_collapses_total'), threshold.receiveWindowCollapsesPerSecond],
          'for': '15m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'Receive windows collapse: senders wait for a service to read.',
            description: 'Receive windows of service "{{ $labels.service }}" on {{ $labels.instance }} collapse {{ $value | printf "%.2f" }} times each second.',
          },
        },
        {
          alert: 'TcpsloZeroWindow',
          expr: 'rate(%s[5m]) > %g' % [series('tcpslo_zero_window_total'), threshold.zeroWindowsPerSecond],
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'Receive windows shut: senders stand still until a service reads.',
            description: 'Receive windows of service "{{ $labels.service }}" on {{ $labels.instance }} shut {{ $value | printf "%.2f" }} times each second.',
          },
        },
      ],
    }],
  },
}
