// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/audit"
	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

// auditIntroduction is docs/audit.md up to the tables and rules.
//
//go:embed audit.md
var auditIntroduction string

// auditReference is docs/audit.md: how to use the audit, what rules may name,
// and every rule under its id, which findings link to.
func auditReference() []byte {
	var out bytes.Buffer
	out.WriteString(auditIntroduction)
	for _, kind := range audit.Kinds {
		fmt.Fprintf(&out, "\n### %s\n\n| field | type | what it is |\n|---|---|---|\n", kind)
		for _, field := range audit.Fields(kind) {
			fmt.Fprintf(&out, "| `%s.%s` | %s | %s |\n", kind, field.Name, field.Type, cell(field.Help))
		}
	}
	fmt.Fprintf(&out, "\nThe built-in rules name the sysctls that the collector `sysctl` exports; yours may name others:\n`%s`.\n", strings.Join(sysctl.Names, "`, `"))
	out.WriteString("\n## Rules\n")
	for _, rule := range audit.Builtin() {
		fmt.Fprintf(&out, "\n### %s\n\n**%s**, for each %s. %s\n\n| | |\n|---|---|\n| found when | `%s` |\n| it says | %s |\n| what helps | `%s` |\n",
			rule.ID, rule.Severity, rule.For, strings.TrimSpace(rule.Why), cell(rule.When), cell(rule.What), cell(rule.Fix))
	}
	return out.Bytes()
}
