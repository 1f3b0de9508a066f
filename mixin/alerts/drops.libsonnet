// SPDX-License-Identifier: Apache-2.0

// Packets that reached the machine and were thrown away by it.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-drops',
      rules: [
        {
          alert: 'TcpsloSocketReceiveDrops',
          // What comes while the window is shut is the business of TcpsloZeroWindow.
          expr: |||
            rate(%s[5m]) > %g
          ||| % [series('tcpslo_socket_receive_drops_total', 'reason!~"zero_window|beyond_window"'), threshold.socketReceiveDropsPerSecond],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'Sockets have no room for packets that came in.',
            description: 'Sockets of service "{{ $labels.service }}" on {{ $labels.instance }} drop {{ $value | printf "%.2f" }} packets each second ({{ $labels.reason }}).',
          },
        },
        {
          alert: 'TcpsloSoftnetDropped',
          expr: 'rate(%s[5m]) > %g' % [series('tcpslo_softnet_dropped_total'), threshold.softnetDropsPerSecond],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A CPU drops packets because its backlog is full.',
            description: 'CPU {{ $labels.cpu }} of {{ $labels.instance }} drops {{ $value | printf "%.2f" }} packets each second before TCP sees them.',
          },
        },
        {
          alert: 'TcpsloSoftnetTimeSqueeze',
          expr: |||
            rate(%(squeezes)s[15m]) > %(perSecond)g
            and
            rate(%(squeezes)s[15m]) > %(perPacket)g * rate(%(packets)s[15m])
          ||| % {
            squeezes: series('tcpslo_softnet_time_squeeze_total'),
            packets: series('tcpslo_softnet_processed_total'),
            perSecond: threshold.softnetSqueezesPerSecond,
            perPacket: threshold.softnetSqueezesPerPacket,
          },
          'for': '15m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A CPU does not get through its received packets in one go.',
            description: 'CPU {{ $labels.cpu }} of {{ $labels.instance }} leaves packets for later {{ $value | printf "%.2f" }} times each second, because the budget of the softirq is used up.',
          },
        },
      ],
    }],
  },
}
