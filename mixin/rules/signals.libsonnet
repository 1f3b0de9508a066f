// SPDX-License-Identifier: Apache-2.0

// What alerts and panels of kernel signals share.
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local series(name, matcher='') = name + promql.selector([config.tcpsloSelector, matcher]),

  // How unequal the series of one label are: the coefficient of variation of what they counted in ten minutes, if that was enough
  // to be more than chance.
  local variation(counter, label) = |||
    stddev without (%(label)s) (increase(%(counter)s[10m]))
      / (avg without (%(label)s) (increase(%(counter)s[10m])) >= %(connections)g)
  ||| % { label: label, counter: series(counter), connections: config.thresholds.acceptImbalanceConnections },

  prometheusRules+:: {
    groups+: [{
      name: 'tcpslo-signals',
      rules: [
        {
          record: 'listener:tcpslo_accepted_connections:cv_increase10m',
          expr: variation('tcpslo_accepted_connections_total', 'worker'),
        },
        {
          record: 'listener:tcpslo_listen_queued_connections:cv_increase10m',
          expr: variation('tcpslo_listen_queued_connections_total', 'cpu'),
        },
        {
          // A packet that finds the ring full is missed or an error of the FIFO, as the driver likes.
          record: 'device:tcpslo_nic_receive_overruns:rate5m',
          expr: |||
            rate(%s[5m]) + rate(%s[5m])
          ||| % [series('tcpslo_nic_receive_missed_total'), series('tcpslo_nic_receive_fifo_errors_total')],
        },
        {
          // Runs of programs at hooks of the kernel. Those at functions of executables have nothing to be compared with.
          record: 'program:tcpslo_probe_hits:increase15m',
          expr: |||
            increase(%s[15m]) * ignoring (variant) group_left (variant) %s
          ||| % [series('tcpslo_probe_hits_total'), series('tcpslo_probe_info', 'variant!~"uprobe.*"')],
        },
      ],
    }],
  },
}
