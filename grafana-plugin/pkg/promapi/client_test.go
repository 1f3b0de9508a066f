// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serve answers every request as told, and hands out a client of it.
func serve(t *testing.T, answer http.HandlerFunc) *Client {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return New(server.Client(), server.URL+"/prefix", time.Minute)
}

func sayJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func TestRange_asks_for_the_grid_and_tells_the_server_its_timeout(t *testing.T) {
	var got string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		got = fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Form)
		sayJSON(w, 200, answers["a matrix"].body)
	})
	result, err := client.Range(t.Context(), `up{a="é&b"}`, testGrid)
	if err != nil || !equal(result, answers["a matrix"].want) {
		t.Errorf("got %+v, %v", result, err)
	}
	if want := `POST /prefix/api/v1/query_range map[end:[1030] query:[up{a="é&b"}] start:[1000] step:[10] timeout:[60s]]`; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
}

func TestInstant_asks_by_GET_where_POST_is_not_allowed(t *testing.T) {
	var got []string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI())
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		sayJSON(w, 200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}}`)
	})
	result, err := client.Instant(t.Context(), "up", time.UnixMilli(1700000000123))
	if err != nil || len(result.Series) != 1 || result.Series[0].Value() != 2 {
		t.Errorf("got %+v, %v", result, err)
	}
	if want := "POST /prefix/api/v1/query\nGET /prefix/api/v1/query?query=up&time=1700000000.123&timeout=60s"; strings.Join(got, "\n") != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestAsk_tells_what_came_instead_of_an_answer_and_what_to_look_at(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"the server's own words": {func(w http.ResponseWriter, _ *http.Request) {
			sayJSON(w, 422, `{"status":"error","errorType":"execution","error":"too many samples"}`)
		}, `prometheus refused the query (execution): too many samples`},
		"another program's JSON": {func(w http.ResponseWriter, _ *http.Request) { sayJSON(w, 503, `{"message":"overloaded"}`) }, `the server answered 503 Service Unavailable`},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "<html>sign in</html>")
		}, `the server answered 200 OK with "text/html", not JSON: is the URL that of a Prometheus-compatible API, and not of a page or a login?`},
		"no password":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, `the server answered 401 Unauthorized: check user, password, token and headers of the datasource`},
		"the wrong place": {http.NotFound, `the server answered 404 Not Found: is the URL that of a Prometheus-compatible API, with its prefix (/prometheus)?`},
		"a bad gateway":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", 502) }, `the server answered 502 Bad Gateway`},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			sayJSON(w, 200, `{"status":"success","data":{"resultType":"matrix","result":[`)
		}, `the answer of prometheus cannot be read: it is cut off: unexpected EOF`},
		"a broken connection": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"status":"success",`)
		}, `the answer of prometheus cannot be read: it is cut off: unexpected EOF`},
		"another question's answer": {func(w http.ResponseWriter, _ *http.Request) {
			sayJSON(w, 200, `{"status":"success","data":{"resultType":"scalar","result":[]}}`)
		}, `the answer of prometheus cannot be read: result type is "scalar", want "matrix"`},
		"another host": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://user:secret@login.example/in")
			w.WriteHeader(302)
		}, `the server redirects to "https://user:xxxxx@login.example/in", another host, which would get the password too: set that URL in the datasource`},
	} {
		_, err := serve(t, c.answer).Range(t.Context(), "up", testGrid)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got  %v\nwant %s", name, err, c.want)
		}
	}
}

func TestAsk_reads_no_more_than_the_bound_of_what_is_decompressed(t *testing.T) {
	var sent bytes.Buffer
	zip := gzip.NewWriter(&sent)
	io.WriteString(zip, `{"status":"success","data":{"resultType":"matrix","result":[`)
	blank := bytes.Repeat([]byte(" "), 1<<20)
	for range 200 {
		zip.Write(blank)
	}
	io.WriteString(zip, `]}}`)
	zip.Close()
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		sayJSON(w, 200, sent.String())
	})
	if _, err := client.Range(t.Context(), "up", testGrid); !errors.Is(err, ErrTooLarge) {
		t.Errorf("200 MiB: got %v", err)
	}
	for extra, want := range map[int64]error{0: nil, 1: ErrTooLarge} {
		_, err := io.Copy(io.Discard, newBounded(io.LimitReader(zeros{}, MaxBody+extra)))
		if !errors.Is(err, want) {
			t.Errorf("%d bytes too many: got %v, want %v", extra, err, want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAsk_gives_up_after_its_timeout_and_when_it_is_canceled(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":`) // and then nothing
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	_, err := New(server.Client(), server.URL, 50*time.Millisecond).Range(t.Context(), "up", testGrid)
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "no answer within 50ms: context deadline exceeded" {
		t.Errorf("got %v", err)
	}
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := New(server.Client(), server.URL, time.Hour).Range(ctx, "up", testGrid); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestGet_reads_the_data_of_other_answers(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/prefix/api/v1/rules?type=alert" || r.Method != http.MethodGet {
			t.Errorf("asked %s %s", r.Method, r.URL.RequestURI())
		}
		sayJSON(w, 200, `{"status":"success","data":{"groups":[{"name":"a"}]}}`)
	})
	var got struct{ Groups []struct{ Name string } }
	if err := client.Get(t.Context(), "rules", map[string][]string{"type": {"alert"}}, &got); err != nil || len(got.Groups) != 1 || got.Groups[0].Name != "a" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAsk_follows_a_redirect_on_its_host_and_none_to_another(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	for target, want := range map[string]string{"/api/v1/there": "", other.URL: `the server redirects to "` + other.URL + `", another host, which would get the password too: set that URL in the datasource`} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/there" {
				sayJSON(w, 200, `{"status":"success","data":{"a":1}}`)
				return
			}
			http.Redirect(w, r, target, http.StatusFound)
		})
		var got map[string]int
		err := client.Get(t.Context(), "rules", nil, &got)
		if want == "" && (err != nil || got["a"] != 1) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("to %s: got %v, %v, want %q", target, got, err, want)
		}
	}
	if reached {
		t.Error("the other host was asked")
	}
}
