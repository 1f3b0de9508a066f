// SPDX-License-Identifier: Apache-2.0
{
  local config = self._config,

  prometheusAlerts+:: {
    groups+: [{
      name: 'tcpslo-exporter',
      rules: [{
        alert: 'TcpsloExporterDown',
        expr: 'up{%s} == 0' % config.exporterSelector,
        'for': config.exporterDownFor,
        labels: { severity: config.severities.ticket },
        annotations: {
          summary: "A tcpslo_exporter can't be scraped.",
          description: 'Prometheus could not scrape {{ $labels.instance }} (up is {{ $value }}): what happens on that machine is not seen, and its events are in no SLO.',
        },
      }],
    }],
  },
}
