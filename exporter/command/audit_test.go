// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/audit"
)

var auditReport = audit.Report{
	Findings: []audit.Finding{
		{Rule: "conntrack-nearly-full", Severity: audit.Critical, What: "the table is full", Why: "Packets are dropped.", Fix: "sysctl -w a=1", Link: "https://example.com/#a"},
		{Rule: "own", Severity: audit.Info, What: "b", Why: "c", Fix: "d"},
	},
	NotJudged: []audit.NotJudged{
		{Rule: "x", Subject: ":1", Reason: "hidden"}, {Rule: "server", Reason: "no exporter"}, {Rule: "x", Subject: ":2", Reason: "hidden"},
		{Rule: "x", Subject: ":3", Reason: "hidden"}, {Rule: "x", Subject: ":4", Reason: "hidden"}, {Rule: "x", Subject: ":5", Reason: "gone"},
	},
	Passed: []string{"one"},
}

func reportText(t *testing.T, report audit.Report, colour bool) string {
	t.Helper()
	var out strings.Builder
	if err := printReport(&out, report, colour); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestReport_has_findings_what_was_not_judged_and_a_sum(t *testing.T) {
	const want = `SEVERITY  RULE                   WHAT, WHY AND THE COMMAND THAT FIXES IT
critical  conntrack-nearly-full  the table is full
                                 why  Packets are dropped.
                                 fix  sysctl -w a=1
                                 see  https://example.com/#a
info      own                    b
                                 why  c
                                 fix  d

NOT JUDGED
  x       :1, :2, :3, 1 more  hidden
  server                      no exporter
  x       :5                  gone

2 findings (1 critical, 1 info); 1 rule passed; 2 rules not judged.
`
	if got := reportText(t, auditReport, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := reportText(t, audit.Report{Passed: []string{"a", "b"}}, true); got != "No findings; 2 rules passed; 0 rules not judged.\n" {
		t.Errorf("without findings: %q", got)
	}
}

func TestReport_has_the_same_columns_with_colours(t *testing.T) {
	coloured := reportText(t, auditReport, true)
	if !strings.Contains(coloured, "\x1b[31mcritical\x1b[0m  conntrack") {
		t.Errorf("critical is not red in %q", coloured)
	}
	plain := strings.NewReplacer("\x1b[31m", "", "\x1b[36m", "", "\x1b[1m", "", "\x1b[0m", "").Replace(coloured)
	if want := reportText(t, auditReport, false); plain != want {
		t.Errorf("without its colours it is\n%s\nwant\n%s", plain, want)
	}
}
