// SPDX-License-Identifier: Apache-2.0
std.manifestYamlDoc((import '../mixin.libsonnet').prometheusAlerts, quote_keys=false)
