// SPDX-License-Identifier: Apache-2.0
(import 'exporter.libsonnet') +
(import 'slo.libsonnet') +
(import 'listen.libsonnet') +
(import 'window.libsonnet') +
(import 'drops.libsonnet') +
(import 'nic.libsonnet') +
(import 'sockets.libsonnet') +
(import 'goruntime.libsonnet') +
(import 'probes.libsonnet')
