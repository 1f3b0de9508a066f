// SPDX-License-Identifier: Apache-2.0

// Ports and sockets that run out because connections end too slowly or not at all.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-sockets',
      rules: [
        {
          alert: 'TcpsloEphemeralPortsNearlyUsed',
          // By destination: a port in use for one of them is free for another. "other" is many of them together.
          expr: |||
            %s / ignoring (source, destination) group_left () %s > %g
          ||| % [
            series('tcpslo_ephemeral_ports_used_by_destination', 'destination!="other"'),
            series('tcpslo_ephemeral_ports_available'),
            threshold.ephemeralPortsShare,
          ],
          'for': '2m',
          labels: { severity: config.severities.page },
          annotations: {
            summary: 'Connections to a destination will soon fail for want of ephemeral ports.',
            description: '{{ $value | humanizePercentage }} of the ephemeral ports from {{ $labels.source }} to {{ $labels.destination }} are in use on {{ $labels.instance }} (network namespace "{{ $labels.netns }}").',
          },
        },
        {
          alert: 'TcpsloTimeWaitOverflow',
          expr: 'rate(%s[5m]) > %g' % [series('tcpslo_tcp_time_wait_overflow_total'), threshold.timeWaitOverflowsPerSecond],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'Connections end without TIME_WAIT because there are too many.',
            description: '{{ $value | printf "%.2f" }} connections each second skip TIME_WAIT on {{ $labels.instance }} (network namespace "{{ $labels.netns }}").',
          },
        },
        {
          alert: 'TcpsloCloseWaitAgeing',
          expr: |||
            %s > %g
            and ignoring (state)
            %s >= %g
          ||| % [
            series('tcpslo_tcp_close_wait_oldest_seconds'),
            threshold.closeWaitSeconds,
            series('tcpslo_tcp_sockets', 'state="close_wait"'),
            threshold.closeWaitSockets,
          ],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A service does not close connections whose peer has gone.',
            description: 'The oldest CLOSE_WAIT connection of service "{{ $labels.service }}" (listener "{{ $labels.listener }}", network namespace "{{ $labels.netns }}") on {{ $labels.instance }} has waited for {{ $value | humanizeDuration }}.',
          },
        },
      ],
    }],
  },
}
