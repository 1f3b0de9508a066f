// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Report is what came of judging.
type Report struct {
	// Findings are what rules found, the worst first.
	Findings []Finding `json:"findings"`
	// NotJudged are rules that had an input missing, in the order of the rules. A
	// rule may be here for one subject and have a finding for another.
	NotJudged []NotJudged `json:"not_judged"`
	// Passed are the ids of rules that were judged in full and found nothing.
	Passed []string `json:"passed"`
}

// Finding is a rule whose condition holds for a subject.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Service  string   `json:"service"`
	Listener string   `json:"listener"`
	What     string   `json:"what"`
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`
	Link     string   `json:"link,omitempty"`
}

// NotJudged is a rule that could not be judged for a subject.
type NotJudged struct {
	Rule    string `json:"rule"`
	Subject string `json:"subject"` // "" for the host, and where no subject is known
	Reason  string `json:"reason"`
}

// Judge judges all rules.
func Judge(rules []*Rule, facts *Facts) Report {
	report := Report{Findings: []Finding{}, NotJudged: []NotJudged{}, Passed: []string{}}
	for _, rule := range rules {
		passed := true
		notJudged := func(subject, reason string) {
			passed = false
			report.NotJudged = append(report.NotJudged, NotJudged{rule.ID, subject, reason})
		}
		for _, subject := range facts.of(rule.For) {
			in := inputs{facts, &subject}
			switch verdict := in.eval(rule.when.root); {
			case !verdict.known:
				notJudged(subject.Name, verdict.reason)
			case verdict.yes:
				passed = false
				report.Findings = append(report.Findings, Finding{
					Rule: rule.ID, Severity: rule.Severity, Service: subject.Service, Listener: subject.Listener,
					What: rule.what.fill(in, printable), Why: strings.TrimSpace(rule.Why), Fix: strings.TrimSpace(rule.fix.fill(in, shellWord)), Link: rule.Link,
				})
			}
		}
		if reason := facts.Unseen[rule.For]; reason != "" {
			notJudged("", reason)
		}
		if passed {
			report.Passed = append(report.Passed, rule.ID)
		}
	}
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Compare(slices.Index(severities, string(b.Severity)), slices.Index(severities, string(a.Severity)))
	})
	return report
}

// Fails tells whether there is a finding of a severity or worse.
func (r Report) Fails(on Severity) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity.AtLeast(on) })
}

// printable takes out what a terminal would obey: a process gives itself its
// name.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

var harmless = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,\[\]-]+$`)

// shellWord quotes a value that goes into a command, so that it stays one word.
func shellWord(text string) string {
	text = printable(text)
	if harmless.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
