// SPDX-License-Identifier: Apache-2.0
std.manifestYamlDoc((import '../mixin.libsonnet').prometheusRules, quote_keys=false)
