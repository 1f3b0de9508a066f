// SPDX-License-Identifier: Apache-2.0

// What a Go service keeps and should have given back, and goroutines that wait for a turn.
local histogram = import '../lib/histogram.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local threshold = config.thresholds,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-goruntime',
      rules: [
        {
          alert: 'TcpsloGoroutineLeak',
          expr: '%s >= %g' % [series('tcpslo_goroutine_leak_suspected'), threshold.leakedGoroutines],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A function leaves goroutines behind.',
            description: '{{ $value }} goroutines that {{ $labels.created_by }} of service "{{ $labels.service }}" on {{ $labels.instance }} created have not ended, and there are more every minute.',
          },
        },
        {
          alert: 'TcpsloDescriptorLeak',
          expr: '%s >= %g' % [series('tcpslo_fd_leak_suspected'), threshold.leakedDescriptors],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A service leaves file descriptors open.',
            description: 'Service "{{ $labels.service }}" on {{ $labels.instance }} has left {{ $value }} descriptors open ({{ $labels.kind }}), and there are more every minute.',
          },
        },
        {
          alert: 'TcpsloConnectionsForgotten',
          expr: '%s >= %g' % [series('tcpslo_fds_without_owner'), threshold.leakedDescriptors],
          'for': '5m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'A service holds connections that no goroutine serves.',
            description: 'No goroutine of service "{{ $labels.service }}" on {{ $labels.instance }} serves {{ $value }} of its connections: they were hijacked and forgotten.',
          },
        },
        {
          alert: 'TcpsloDescriptorsNearlyUsed',
          expr: '%s / %s > %g' % [series('tcpslo_open_fds'), series('tcpslo_max_fds'), threshold.openDescriptorsShare],
          'for': '2m',
          labels: { severity: config.severities.page },
          annotations: {
            summary: 'A service will soon be unable to accept connections for want of file descriptors.',
            description: 'A process of service "{{ $labels.service }}" on {{ $labels.instance }} has {{ $value | humanizePercentage }} of the file descriptors open that it may have.',
          },
        },
        {
          alert: 'TcpsloNetpollDelay',
          expr: |||
            (%s) > %g
            and
            (%s) > %g
          ||| % [
            histogram.quantile(0.99, 'tcpslo_netpoll_wakeup_seconds', config.tcpsloSelector, '5m'),
            threshold.netpollWakeupSeconds,
            histogram.countRate('tcpslo_netpoll_wakeup_seconds', config.tcpsloSelector, '5m'),
            threshold.netpollWakeupsPerSecond,
          ],
          'for': '10m',
          labels: { severity: config.severities.ticket },
          annotations: {
            summary: 'Data waits in sockets for goroutines that do not get a turn.',
            description: 'One in a hundred reads of service "{{ $labels.service }}" on {{ $labels.instance }} begins {{ $value | humanizeDuration }} or more after its data came.',
          },
        },
      ],
    }],
  },
}
