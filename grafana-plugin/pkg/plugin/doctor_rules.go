// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// rules is what /api/v1/rules says, as far as it is needed.
type rules struct {
	Groups []struct {
		Name           string
		Interval       float64 // seconds
		EvaluationTime float64 // seconds
		Rules          []struct {
			Name      string
			Type      string
			Health    string
			LastError string
		}
	}
}

func (d *Datasource) checkRules(ctx context.Context) finding {
	const check = "Rules"
	var loaded rules
	if err := d.api.Get(ctx, "rules", nil, &loaded); err != nil {
		return finding{check, unknown, "This server does not tell of its rules: " + err.Error(), ""}
	}
	groups := 0
	for _, group := range loaded.Groups {
		if !strings.HasPrefix(group.Name, "tcpslo") {
			continue
		}
		groups++
		for _, rule := range group.Rules {
			if rule.Health == "err" {
				return finding{check, bad, fmt.Sprintf("Rule %q of group %q fails: %s", rule.Name, group.Name, rule.LastError), "Load the rules of the version of the exporters (rules/tcpslo_rules.yaml)."}
			}
		}
		if group.Interval > 0 && group.EvaluationTime > group.Interval {
			return finding{check, bad, fmt.Sprintf("Group %q takes %.3g s and is due every %.3g s: alerts come late.", group.Name, group.EvaluationTime, group.Interval), "Give Prometheus more CPU, or scrape fewer series."}
		}
	}
	if groups == 0 {
		return finding{check, bad, "None of its rule groups begins with \"tcpslo\".", "Add rules/tcpslo_rules.yaml and rules/tcpslo_alerts.yaml to rule_files."}
	}
	return finding{check, good, fmt.Sprintf("%d groups are loaded, healthy and in time.", groups), ""}
}

func (d *Datasource) checkRecorded(ctx context.Context) finding {
	const check = "Recorded SLOs"
	recorded, err := d.now(ctx, "count("+d.sel(objectiveRatio)+")")
	if err != nil {
		return finding{check, bad, err.Error(), "See what Prometheus says of the query."}
	}
	if len(recorded.Series) == 0 {
		return finding{check, bad, "No series of " + objectiveRatio + ".", "Load the recording rules; after that it takes 30 s. If this server doesn't evaluate rules, ask the one that has their results."}
	}
	return finding{check, good, fmt.Sprintf("%.0f SLOs.", recorded.Series[0].Value()), ""}
}

func (d *Datasource) checkRetention(ctx context.Context) finding {
	const check = "Retention"
	windows, err := d.now(ctx, "max("+d.sel(windowSeconds)+")")
	if err != nil || len(windows.Series) == 0 {
		return finding{check, unknown, "No window is recorded.", ""}
	}
	window := time.Duration(windows.Series[0].Value()) * time.Second
	var flags map[string]string
	err = d.api.Get(ctx, "status/flags", nil, &flags)
	kept, parsed := parseDuration(flags["storage.tsdb.retention.time"])
	switch {
	case err != nil || !parsed:
		return finding{check, unknown, "This server does not tell how long it keeps data; the longest window is " + duration(window) + ".", ""}
	case kept == 0: // Prometheus keeps 15 days if it is told nothing
		kept = 15 * 24 * time.Hour
	}
	if kept < window {
		return finding{check, bad, fmt.Sprintf("Data is kept for %s, and the longest window is %s: budgets are of less than they say.", duration(kept), duration(window)), "Start Prometheus with --storage.tsdb.retention.time=" + duration(window+3*24*time.Hour) + "."}
	}
	return finding{check, good, fmt.Sprintf("Data is kept for %s, the longest window is %s.", duration(kept), duration(window)), ""}
}

// parseDuration reads a duration of Prometheus: 15d, 1h30m, 0s.
func parseDuration(text string) (total time.Duration, ok bool) {
	units := map[string]time.Duration{"y": 365 * 24 * time.Hour, "w": 7 * 24 * time.Hour, "d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second, "ms": time.Millisecond}
	for rest := text; rest != ""; ok = true {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits <= 0 {
			return 0, false
		}
		n := time.Duration(0)
		for _, c := range rest[:digits] {
			n = 10*n + time.Duration(c-'0')
		}
		rest = rest[digits:]
		letters := strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' })
		if letters < 0 {
			letters = len(rest)
		}
		unit, known := units[rest[:letters]]
		if !known {
			return 0, false
		}
		total, rest = total+n*unit, rest[letters:]
	}
	return total, ok
}
