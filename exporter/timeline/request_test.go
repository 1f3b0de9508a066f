// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

var full = Request{
	ID: "00f3a1b2c3d4e5f6", Service: "checkout", PID: 812, Goroutine: 4711, Method: "POST", Path: "/orders/{id}", Status: "503",
	Local: netip.MustParseAddrPort("10.0.0.1:8080"), Remote: netip.MustParseAddrPort("[fd00::7]:51234"),
	TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	Started:     time.Date(2026, 11, 23, 11, 2, 31, 123456789, time.UTC), Slow: true,
	Duration: 702_400_001 * time.Nanosecond, Threshold: 200 * time.Millisecond,
	Stages: []Stage{{"handshake", 400 * time.Microsecond}, {"accept_queue", 702_000_001 * time.Nanosecond}},
}

func TestRequest_is_JSON_in_seconds_with_what_is_unknown_left_out(t *testing.T) {
	for _, c := range []struct {
		request Request
		want    string
	}{
		{full, `{"id":"00f3a1b2c3d4e5f6","service":"checkout","pid":812,"goroutine":4711,"method":"POST","path":"/orders/{id}","status_code":"503",` +
			`"local":"10.0.0.1:8080","remote":"[fd00::7]:51234","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",` +
			`"started":"2026-11-23T11:02:31.123456789Z","slow":true,"duration_seconds":0.702400001,"threshold_seconds":0.2,` +
			`"stages":[{"stage":"handshake","seconds":0.0004},{"stage":"accept_queue","seconds":0.702000001}]}`},
		{Request{}, `{"id":"","service":"","pid":0,"goroutine":0,"method":"","path":"","status_code":"","started":"0001-01-01T00:00:00Z",` +
			`"slow":false,"duration_seconds":0,"threshold_seconds":0,"stages":[]}`},
	} {
		got, err := json.Marshal(c.request)
		if err != nil || string(got) != c.want {
			t.Errorf("%v, got\n%s\nwant\n%s", err, got, c.want)
		}
	}
}

func TestRequest_that_was_written_is_read_to_the_nanosecond(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 333_333_333, time.Hour + 1, 90*24*time.Hour + 123_456_789} {
		want := full
		want.Duration, want.Threshold, want.Stages = d, d+1, []Stage{{"handler", d}, {"first_packet", d + 2}}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := Request{Stages: []Stage{{"stale", 1}}}
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v, got\n%+v\nwant\n%+v", err, got, want)
		}
	}
	for _, bad := range []string{`[]`, `{"duration_seconds":"1s"}`, `{"stages":[{"seconds":"1"}]}`, `{"local":"here"}`} {
		if err := json.Unmarshal([]byte(bad), &Request{}); err == nil {
			t.Errorf("%s is taken for a request", bad)
		}
	}
}
