// SPDX-License-Identifier: Apache-2.0
{
  _config+:: {
    // The dashboards find each other by these.
    dashboardTags: ['tcpslo'],
  },

  // By file name, what Grafana imports.
  grafanaDashboards+:: {},
} +
(import 'slo_overview.libsonnet') +
(import 'service.libsonnet') +
(import 'tcp.libsonnet') +
(import 'goruntime.libsonnet') +
(import 'plugin.libsonnet')
