// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

func TestBurn_state_goes_from_ok_by_increasing_to_critical_and_by_recovering_back(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	q := query("A", models.Query{QueryType: models.Burn})
	f.tellAll(t, d, q, map[string]any{"burn thresholds": thresholds(), "burn rates": []promapi.Series{
		series(with(availability, "__name__", burnRate(5*time.Minute)), 1, 20, 20, 1, 1, nan, 14.4),
		series(with(availability, "__name__", burnRate(time.Hour)), 1, 1, 20, 20, 1, 1, 14.4),
		series(with(availability, "__name__", burnRate(24*time.Hour)), 9, 9, 9, 9, 9, 9, 9), // without its other window no state is known
	}})
	answer := ask(t, d, q)
	if answer.Error != nil || len(answer.Frames) != 2 {
		t.Fatalf("got %+v", answer)
	}
	names := answer.Frames[1].Fields[1].Config.TypeConfig.Enum.Text
	for row, want := range []string{"ok", "increasing", "critical", "recovering", "ok", "", "ok"} {
		got := ""
		if index, ok := at(t, answer.Frames[1], "state", "checkout", row).(data.EnumItemIndex); ok {
			got = names[index]
		}
		if got != want {
			t.Errorf("point %d: got %q, want %q", row, got, want)
		}
	}
}
