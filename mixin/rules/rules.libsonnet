// SPDX-License-Identifier: Apache-2.0
(import 'slo.libsonnet') +
(import 'signals.libsonnet')
