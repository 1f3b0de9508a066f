// SPDX-License-Identifier: Apache-2.0

// Packets that a network device had to drop. One alert for each remedy: a ring that
// can grow, and one that can't.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),
  local nic = {
    overruns: series('device:tcpslo_nic_receive_overruns:rate5m'),
    ring: series('tcpslo_nic_ring_entries', 'ring="rx"'),
    maximum: series('tcpslo_nic_ring_entries_max', 'ring="rx"'),
    perSecond: threshold.nicOverrunsPerSecond,
  },

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-nic',
      rules: [
        {
          alert: 'TcpsloNicRingBelowMaximum',
          expr: |||
            %(overruns)s > %(perSecond)g
            and ignoring (ring)
            %(ring)s < %(maximum)s
          ||| % nic,
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A network device drops packets, and its receive ring is smaller than it may be.',
            description: '{{ $labels.device }} of {{ $labels.instance }} drops {{ $value | printf "%.2f" }} packets each second, and its receive ring can be enlarged.',
          },
        },
        {
          alert: 'TcpsloNicOverruns',
          expr: |||
            %(overruns)s > %(perSecond)g
            unless ignoring (ring)
            %(ring)s < %(maximum)s
          ||| % nic,
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A network device drops packets because the host takes them too slowly.',
            description: '{{ $labels.device }} of {{ $labels.instance }} drops {{ $value | printf "%.2f" }} packets each second, and its receive ring can not be enlarged.',
          },
        },
      ],
    }],
  },
}
