// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// quiet is an exporter that sends what is written to its pipe.
type quiet struct {
	opened int
	out    *io.PipeWriter
}

func (q *quiet) RoundTrip(r *http.Request) (*http.Response, error) {
	in, out := io.Pipe()
	q.opened, q.out = q.opened+1, out
	context.AfterFunc(r.Context(), func() { out.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: in, Request: r}, nil
}

func TestFollow_gives_an_exporter_up_that_says_nothing_and_opens_its_stream_again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := &quiet{}
		d := &Datasource{streams: &http.Client{Transport: exporter}}
		l := &live{lost: map[string]error{"http://a": errConnecting}, sums: newSecond()}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { l.follow(ctx, d, "http://a"); close(ended) }()
		synctest.Wait()
		for range 10 { // ten signs of life, as exporters give them
			if len(l.lost) != 0 || exporter.opened != 1 {
				t.Fatalf("lost %v, opened %d times", l.lost, exporter.opened)
			}
			io.WriteString(exporter.out, ": keep-alive\n\n")
			time.Sleep(15 * time.Second)
			synctest.Wait()
		}
		time.Sleep(silence - 15*time.Second)
		synctest.Wait()
		if err := l.lost["http://a"]; !errors.Is(err, errStalled) || err.Error() != "exporter http://a: nothing came for 40s, not even a sign of life" {
			t.Errorf("after %s: %v", silence, err)
		}
		frame := l.take(time.Now(), 1)
		if at(t, frame, "exporters", "", 0) != 0.0 || len(frame.Meta.Notices) != 1 || !strings.Contains(frame.Meta.Notices[0].Text, "sign of life") {
			t.Errorf("the frame doesn't tell: %+v", frame.Meta)
		}
		time.Sleep(again)
		if synctest.Wait(); exporter.opened != 2 || len(l.lost) != 0 {
			t.Errorf("opened %d times, lost %v", exporter.opened, l.lost)
		}
		cancel()
		<-ended
	})
}

func TestWatched_lets_no_line_be_endless(t *testing.T) {
	for name, c := range map[string]struct {
		stream io.Reader
		want   error
	}{
		"lines":         {strings.NewReader(strings.Repeat(strings.Repeat("a", maxLine/2)+"\n", 10)), io.EOF},
		"one long line": {io.LimitReader(letters{}, 10*maxLine), errLine},
	} {
		if err := timeline.ReadEvents(&watched{Reader: c.stream, alive: func() {}}, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestOpen_tells_what_an_exporter_is_that_is_none(t *testing.T) {
	for want, answer := range map[string]http.HandlerFunc{
		`answered 200 OK with "text/html; charset=utf-8", want "application/json": is that a tcpslo_exporter whose API is on?`: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
		`answered 400 Bad Request: parameter "limit" must be a whole number`: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `parameter "limit" must be a whole number`, http.StatusBadRequest)
		},
		`its answer can't be read: unexpected EOF`: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"requests":[`)
		},
	} {
		server := httptest.NewServer(answer)
		var into map[string]any
		err := fetch(t.Context(), server.Client(), server.URL, "requests", nil, &into)
		if err == nil || err.Error() != "exporter "+server.URL+": "+want && err.Error() != "exporter "+server.URL+" "+want {
			t.Errorf("got %v, want %s", err, want)
		}
		server.Close()
		if err := fetch(t.Context(), server.Client(), strings.Replace(server.URL, "//", "//user:secret@", 1), "requests", nil, &into); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("when it is down: got %v", err)
		}
	}
}

func TestPath_of_a_stream_is_short_and_says_all(t *testing.T) {
	q := liveQuery{Services: []string{"checkout", "a/b c"}, Exporter: handle("http://exporter:10984")}
	path, err := q.path()
	if got, ok := parsePath(path); err != nil || !ok || got.Exporter != q.Exporter || strings.Join(got.Services, "|") != "checkout|a/b c" {
		t.Errorf("got %+v, %v of %s, %v", got, ok, path, err)
	}
	if strings.Trim(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/=.") != "" {
		t.Errorf("%s has characters that no channel may have", path)
	}
	if _, err := (liveQuery{Services: strings.Split(strings.Repeat("service,", 20), ",")}).path(); err == nil {
		t.Error("a channel is longer than Grafana allows")
	}
	for _, wrong := range []string{"", "live", "live/%", "live/AAAA", "other/" + path} {
		if q, ok := parsePath(wrong); ok {
			t.Errorf("%q is taken for %+v", wrong, q)
		}
	}
}
