// SPDX-License-Identifier: Apache-2.0

// Every alert has a section in the runbook under its own name, so the link needn't be written in
// each of them.
{
  local runbookURL = self._config.runbookURL,
  local linked(rule) = rule { annotations+: { runbook_url: runbookURL % std.asciiLower(rule.alert) } },

  prometheusAlerts+:: {
    groups: [group { rules: [linked(rule) for rule in group.rules] } for group in super.groups],
  },
}
