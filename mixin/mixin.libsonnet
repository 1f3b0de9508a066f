// SPDX-License-Identifier: Apache-2.0
(import 'config.libsonnet') +
(import 'thresholds.libsonnet') +
(import 'alerts/alerts.libsonnet') +
(import 'rules/rules.libsonnet') +
(import 'dashboards/dashboards.libsonnet') +
(import 'lib/runbook_links.libsonnet')
