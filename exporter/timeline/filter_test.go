// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuery_finds_what_its_parameters_say_in_the_order_that_they_say(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(1000)
		now := time.Now()
		for _, r := range []Request{ // named by how long ago they ended
			{ID: "1m", Service: "checkout", Method: "GET", Path: "/orders/{id}", Status: "200", Duration: 10 * time.Millisecond},
			{ID: "2m", Service: "checkout", Method: "POST", Path: "/orders", Status: "503", Duration: 300 * time.Millisecond, Slow: true},
			{ID: "3m", Service: "checkout", Method: "GET", Path: "/orders/{id}", Status: "panic", Duration: 500 * time.Millisecond, Slow: true},
			{ID: "4m", Service: "inventory", Method: "GET", Path: "/", Status: "504", Duration: 200 * time.Millisecond, Slow: true},
			{ID: "5m", Service: "inventory", Method: "GET", Path: "/", Status: "404", Duration: 200 * time.Millisecond},
			{ID: "6m", Service: "inventory", Method: "GET", Path: "/ws", Status: "hijacked", Duration: time.Hour, Slow: true},
		} {
			ago, _ := time.ParseDuration(r.ID)
			r.Started = now.Add(-ago - r.Duration)
			s.Add(r)
		}
		for query, want := range map[string][]string{
			"":                                   {"6m", "3m", "2m", "4m", "5m", "1m"},
			"order=newest":                       {"1m", "2m", "3m", "4m", "5m", "6m"},
			"order=slowest":                      {"6m", "3m", "2m", "4m", "5m", "1m"},
			"limit=2":                            {"6m", "3m"},
			"limit=2&order=newest":               {"1m", "2m"},
			"limit=0":                            {"6m", "3m", "2m", "4m", "5m", "1m"},
			"limit=7":                            {"6m", "3m", "2m", "4m", "5m", "1m"},
			"service=inventory":                  {"6m", "4m", "5m"},
			"service=invent":                     nil,
			"path=/orders/%7Bid%7D":              {"3m", "1m"},
			"path=/":                             {"4m", "5m"},
			"method=POST":                        {"2m"},
			"method=post":                        {"2m"},
			"status_code=503":                    {"2m"},
			"status_code=5xx":                    {"2m", "4m"},
			"status_code=4xx":                    {"5m"},
			"status_code=panic":                  {"3m"},
			"status_code=hijacked":               {"6m"},
			"slower_than=200ms":                  {"6m", "3m", "2m"},
			"slower_than=199.999ms":              {"6m", "3m", "2m", "4m", "5m"},
			"slower_than=1d":                     nil,
			"max_age=3m":                         {"3m", "2m", "1m"},
			"max_age=179s":                       {"2m", "1m"},
			"slow=true":                          {"6m", "3m", "2m", "4m"},
			"slow=false":                         {"5m", "1m"},
			"service=&slow=&order=&status_code=": {"6m", "3m", "2m", "4m", "5m", "1m"},
			"service=checkout&status_code=5xx":   {"2m"},
			"service=inventory&slow=true&slower_than=100ms&max_age=5m&order=newest&limit=1": {"4m"},
		} {
			q, err := ParseQuery(query)
			if err != nil {
				t.Errorf("%q: %v", query, err)
			}
			if got := ids(s.Find(q)); !slices.Equal(got, want) {
				t.Errorf("%q finds %v, want %v", query, got, want)
			}
		}
	})
}

func TestQuery_without_a_limit_finds_a_hundred(t *testing.T) {
	s := NewStore(6 * 2 * 150)
	for i := range 150 {
		s.Add(slow("checkout", time.Duration(i)))
	}
	q, err := ParseQuery("")
	if found := len(s.Find(q)); err != nil || found != 100 {
		t.Errorf("%d are found (%v), want 100", found, err)
	}
}

func TestQuery_that_is_wrong_is_refused_with_what_is_allowed(t *testing.T) {
	const statuses = `parameter "status_code" must be a status such as 503, a class such as 5xx, "panic" or "hijacked", got `
	for query, want := range map[string]string{
		"servce=checkout":     `unknown parameter "servce", did you mean "service"?`,
		"status=500":          `unknown parameter "status", must be one of "service", "path", "method", "status_code", "slower_than", "slow", "max_age", "limit", "order"`,
		"slower-than=1s":      `unknown parameter "slower-than", did you mean "slower_than"?`,
		"service=a&service=b": `parameter "service" is given 2 times, must be given once`,
		"status_code=50":      statuses + `"50"`,
		"status_code=5x":      statuses + `"5x"`,
		"status_code=0xx":     statuses + `"0xx"`,
		"status_code=-50":     statuses + `"-50"`,
		"status_code=099":     statuses + `"099"`,
		"status_code=5000":    statuses + `"5000"`,
		"status_code=Panic":   statuses + `"Panic"`,
		"slower_than=200":     `parameter "slower_than" must be a duration with a unit, such as 200ms or 1.5s, got "200"`,
		"slower_than=-1s":     `parameter "slower_than" must be a duration with a unit, such as 200ms or 1.5s, got "-1s"`,
		"max_age=old":         `parameter "max_age" must be a duration with a unit, such as 90s or 10m, got "old"`,
		"slow=yes":            `parameter "slow" must be true or false, got "yes"`,
		"limit=-1":            `parameter "limit" must be a whole number, or 0 for all, got "-1"`,
		"limit=1.5":           `parameter "limit" must be a whole number, or 0 for all, got "1.5"`,
		"order=fastest":       `parameter "order" must be "slowest" or "newest", got "fastest"`,
		"slow=1&limit=x":      `parameter "limit" must be a whole number, or 0 for all, got "x"`,
		"path=%zz":            url.EscapeError("%zz").Error(),
		"a;b":                 "invalid semicolon separator in query",
	} {
		if _, err := ParseQuery(query); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", query, err, want)
		}
	}
}

func TestFilter_of_a_stream_knows_no_parameters_of_a_list(t *testing.T) {
	if f, err := ParseFilter("service=checkout&slower_than=1s"); err != nil || f != (Filter{Service: "checkout", SlowerThan: time.Second}) {
		t.Errorf("%+v, %v", f, err)
	}
	for _, name := range []string{"max_age", "limit", "order"} {
		want := `unknown parameter "` + name + `", must be one of "service", "path", "method", "status_code", "slower_than", "slow"`
		if _, err := ParseFilter(name + "=1"); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
