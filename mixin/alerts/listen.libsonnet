// SPDX-License-Identifier: Apache-2.0

// Connections that wait for accept(), are refused, or never come to be.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-listen',
      rules: [
        {
          alert: 'TcpsloAcceptQueueNearLimit',
          // The queue holds one connection more than its limit says.
          expr: |||
            %s / (%s + 1) > %g
          ||| % [series('tcpslo_listen_accept_queue_connections'), series('tcpslo_listen_accept_queue_limit'), threshold.acceptQueueShare],
          'for': '2m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'An accept queue stays nearly full.',
            description: 'The accept queue of {{ $labels.listener }} (service "{{ $labels.service }}", network namespace "{{ $labels.netns }}") on {{ $labels.instance }} is filled to {{ $value | humanizePercentage }}.',
          },
        },
        {
          alert: 'TcpsloConnectionsRefused',
          expr: 'rate(%s[5m]) > %g' % [series('tcpslo_listen_drops_total'), threshold.listenDropsPerSecond],
          'for': '3m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'The kernel refuses connections of a listener.',
            description: '{{ $labels.listener }} (service "{{ $labels.service }}", network namespace "{{ $labels.netns }}") on {{ $labels.instance }} refuses {{ $value | printf "%.2f" }} connections each second ({{ $labels.reason }}), and each of them costs its client a second or more.',
          },
        },
        {
          alert: 'TcpsloSynAckRetransmits',
          // "unless" and not "and": where no handshake is ever completed there are no queued connections to compare with.
          expr: |||
            rate(%(retransmits)s[10m]) > %(perSecond)g
            unless
            rate(%(retransmits)s[10m]) <= %(share)g * sum without (cpu) (rate(%(queued)s[10m]))
          ||| % {
            retransmits: series('tcpslo_listen_synack_retransmits_total'),
            queued: series('tcpslo_listen_queued_connections_total'),
            perSecond: threshold.synackRetransmitsPerSecond,
            share: threshold.synackRetransmitsShare,
          },
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'Handshakes of a listener stall.',
            description: '{{ $labels.listener }} (service "{{ $labels.service }}", network namespace "{{ $labels.netns }}") on {{ $labels.instance }} sends {{ $value | printf "%.2f" }} SYN-ACKs each second again, because the final ACK does not come.',
          },
        },
        {
          alert: 'TcpsloAcceptImbalance',
          // Longer than the ten minutes for which a worker that was replaced still counts.
          expr: '%s > %g' % [series('listener:tcpslo_accepted_connections:cv_increase10m'), threshold.acceptImbalance],
          'for': '15m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'The workers of a listener get unequal shares of its connections.',
            description: 'The connections of the workers of {{ $labels.listener }} (service "{{ $labels.service }}", network namespace "{{ $labels.netns }}") on {{ $labels.instance }} have a coefficient of variation of {{ $value | printf "%.2f" }}.',
          },
        },
      ],
    }],
  },
}
