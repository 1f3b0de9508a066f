// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/names"
)

// A counter that seems to begin anew is a burst when it is back.
func TestObjectives_have_no_events_in_a_scrape_in_which_requests_could_not_be_read(t *testing.T) {
	c, err := config.Parse("tcpslo.yml", []byte("services: [{name: shop}]\ncollectors: {listen: false, accept: false, timeline: false}"), []string{"listen", "accept", "timeline"})
	if err != nil {
		t.Fatal(err)
	}
	o := start(t, c)
	events := func() (n int) {
		families, done, err := o.Gather()
		defer done()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == names.SLOEvents.Full() {
				for _, m := range f.Metric {
					if serviceOf(m) == "shop" {
						n++
					}
				}
			}
		}
		return n
	}
	if n := events(); n != 4 {
		t.Errorf("%d series of the service, want two verdicts of two objectives", n)
	}
	o.current.set.Named("http").Close() // its maps can't be read any more
	if n := events(); n != 0 {
		t.Errorf("%d series of the service although requests can't be read", n)
	}
	if all := o.Objectives(); all != nil {
		t.Errorf("objectives %v although requests can't be read", all)
	}
}

func serviceOf(m *dto.Metric) string {
	for _, pair := range m.Label {
		if pair.GetName() == "service" {
			return pair.GetValue()
		}
	}
	return ""
}
