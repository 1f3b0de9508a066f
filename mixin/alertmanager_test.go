// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const alertmanagerYAML = "../rules/alertmanager.yml"

func TestAmtool_accepts_the_example_and_routes_pages_to_the_pager(t *testing.T) {
	amtool := testenv.Need(t, "amtool", "prometheus-alertmanager")
	if out, err := exec.Command(amtool, "check-config", alertmanagerYAML).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, rule := range allRules(rendered(t).Alerts) {
		arguments := []string{"config", "routes", "test", "--config.file=" + alertmanagerYAML, "alertname=" + rule.Alert}
		for label, value := range rule.Labels {
			arguments = append(arguments, label+"="+value)
		}
		out, err := exec.Command(amtool, arguments...).Output()
		want := map[string]string{"critical": "pager", "warning": "tickets"}[rule.Labels["severity"]]
		if have := strings.TrimSpace(string(out)); err != nil || have != want {
			t.Errorf("%s with severity %s goes to %q (%v), want %q", rule.Alert, rule.Labels["severity"], have, err, want)
		}
	}
}

// post lets alerts fire, given by their labels.
func post(t *testing.T, a *child.Alertmanager, alerts []map[string]string) {
	t.Helper()
	type posted struct {
		Labels map[string]string `json:"labels"`
	}
	var body []posted
	for _, labels := range alerts {
		body = append(body, posted{labels})
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post("http://"+a.Address+"/api/v2/alerts", "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(response.Body)
		t.Fatalf("%s: %s", response.Status, answer)
	}
}

// short is how an alert is written here.
func short(labels map[string]string) string { return labtest.AlertName(labels, "service") }

func TestAlertmanager_keeps_back_what_another_alert_says_already(t *testing.T) {
	// Each of these fires, with the labels that Prometheus gives them. Those with true are kept back.
	for name, want := range map[string]map[string]bool{
		"the fastest tier is enough": {
			"ErrorBudgetBurn fast shop": false, "ErrorBudgetBurn medium shop": true, "ErrorBudgetBurn slow shop": true, "ErrorBudgetBurn trickle shop": true,
			"ErrorBudgetRunsOut shop": true, "ErrorBudgetExhausted shop": false,
			"ErrorBudgetBurn trickle bank": false, "ErrorBudgetRunsOut bank": false, "SLOAbsent bank": false,
		},
		"without it the next": {
			"ErrorBudgetBurn medium shop": false, "ErrorBudgetBurn slow shop": true, "ErrorBudgetBurn trickle shop": true,
			"ErrorBudgetRunsOut shop": true, "ErrorBudgetBurn slow bank": false, "ErrorBudgetBurn trickle bank": true, "ErrorBudgetRunsOut bank": false,
		},
		"a used up budget doesn't run out, and an exporter that is down misses no SLO": {
			"ErrorBudgetExhausted shop": false, "ErrorBudgetRunsOut shop": true, "ErrorBudgetBurn slow shop": false,
			"ErrorBudgetRunsOut bank": false, "ExporterDown": false, "SLOAbsent bank": true, "SLOWindowUnsupported bank": false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := labtest.StartAlertmanager(t, alertmanagerYAML)
			var alerts []map[string]string
			for _, rule := range allRules(rendered(t).Alerts) {
				for _, service := range []string{"shop", "bank", ""} {
					labels := maps.Clone(rule.Labels)
					labels["alertname"] = rule.Alert
					if service != "" {
						labels["service"], labels["slo"] = service, "availability"
					} else {
						labels["job"], labels["instance"] = "tcpslo", "one:10984"
					}
					if _, wanted := want[short(labels)]; wanted {
						alerts = append(alerts, labels)
					}
				}
			}
			if len(alerts) != len(want) {
				t.Fatalf("%d of the alerts are rendered, want %d", len(alerts), len(want))
			}
			post(t, a, alerts)
			labtest.Settles(t, func() error {
				have, err := a.Inhibited(short)
				if err == nil && !reflect.DeepEqual(have, want) {
					err = fmt.Errorf("kept back:\n%v, want\n%v", have, want)
				}
				return err
			})
		})
	}
}
