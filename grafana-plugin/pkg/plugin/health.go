// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
)

// CheckHealth is what the doctor found, in a few words: what is wrong, and its fix. A warning is no error.
func (d *Datasource) CheckHealth(ctx context.Context, _ *backend.CheckHealthRequest) (*backend.CheckHealthResult, error) {
	findings := d.doctor(ctx)
	details, err := json.Marshal(map[string]any{"findings": findings, "verboseMessage": verbose(findings)})
	if err != nil {
		return nil, err
	}
	result := &backend.CheckHealthResult{Status: backend.HealthStatusOk, JSONDetails: details}
	var wrong, less []string
	for _, f := range findings {
		switch f.Verdict {
		case bad:
			wrong = append(wrong, f.String())
		case warning:
			less = append(less, f.String())
		}
	}
	switch {
	case wrong != nil:
		result.Status, result.Message = backend.HealthStatusError, strings.Join(wrong, " ")
	case less != nil:
		result.Message = "SLOs are there. " + strings.Join(less, " ")
	default:
		result.Message = "All is well: " + findings[0].Text
	}
	return result, nil
}

// String says what was found and what helps.
func (f finding) String() string {
	text := f.Check + ": " + f.Text
	if f.Fix != "" {
		text += " " + f.Fix
	}
	return text
}

func verbose(findings []finding) string {
	var lines []string
	for _, f := range findings {
		lines = append(lines, fmt.Sprintf("[%s] %s", f.Verdict, f))
	}
	return strings.Join(lines, "\n")
}
