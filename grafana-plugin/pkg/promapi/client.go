// SPDX-License-Identifier: Apache-2.0

// Package promapi asks a Prometheus-compatible API: Prometheus, Mimir, Thanos,
// VictoriaMetrics. Answers to queries are decoded as they arrive, onto the points of time
// that were asked for.
package promapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client asks one server. It may be used by any number of goroutines.
type Client struct {
	http    *http.Client
	base    string
	timeout time.Duration
}

// New returns a client of the API at a base URL without a slash at its end. A query takes the timeout at
// most, and the server is told so. The http.Client brings authentication, headers and TLS along; it
// follows no redirect to another host from now on, because that would get the same headers.
func New(client *http.Client, base string, timeout time.Duration) *Client {
	staying := *client
	staying.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || len(via) > 5 {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &Client{&staying, base, timeout}
}

// Range evaluates PromQL at each point of a grid.
func (c *Client) Range(ctx context.Context, expr string, grid Grid) (*Result, error) {
	return c.query(ctx, "query_range", &grid, url.Values{
		"query": {expr}, "start": {seconds(grid.Start)}, "end": {seconds(grid.End())},
		"step": {strconv.FormatFloat(grid.Step.Seconds(), 'f', -1, 64)},
	})
}

// Instant evaluates PromQL at one time.
func (c *Client) Instant(ctx context.Context, expr string, at time.Time) (*Result, error) {
	return c.query(ctx, "query", nil, url.Values{"query": {expr}, "time": {seconds(at)}})
}

func (c *Client) query(ctx context.Context, path string, grid *Grid, form url.Values) (result *Result, err error) {
	form.Set("timeout", strconv.FormatFloat(c.timeout.Seconds(), 'f', -1, 64)+"s")
	err = c.ask(ctx, http.MethodPost, path, form, func(body io.Reader) error {
		result, err = decode(body, grid)
		return err
	})
	return result, err
}

// Get asks for /api/v1/PATH and decodes the member "data" of the answer.
func (c *Client) Get(ctx context.Context, path string, form url.Values, into any) error {
	return c.ask(ctx, http.MethodGet, path, form, func(body io.Reader) error {
		var answer struct {
			Status    string          `json:"status"`
			Data      json.RawMessage `json:"data"`
			ErrorType string          `json:"errorType"`
			Error     string          `json:"error"`
		}
		if err := json.NewDecoder(body).Decode(&answer); err != nil {
			return err
		}
		if answer.Status != "success" {
			return &APIError{Type: answer.ErrorType, Message: answer.Error}
		}
		return json.Unmarshal(answer.Data, into)
	})
}

// ask sends one request and has the body of its answer decoded.
func (c *Client) ask(ctx context.Context, method, path string, form url.Values, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer within %s: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	response, err := c.send(ctx, method, path, form)
	if err == nil && response.StatusCode == http.StatusMethodNotAllowed && method == http.MethodPost {
		response.Body.Close()
		response, err = c.send(ctx, http.MethodGet, path, form) // a proxy that lets readers only read
	}
	if err != nil {
		return because(ctx, err)
	}
	defer response.Body.Close()
	body := newBounded(response.Body)
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	isJSON := strings.HasSuffix(kind, "json")
	switch {
	case response.StatusCode/100 == 2 && isJSON:
		if err := read(body); err != nil {
			return because(ctx, unreadable(err))
		}
		return nil
	case isJSON:
		// Prometheus says what is wrong in its own words, with a status such as 422.
		_, err := decode(body, nil)
		var said *APIError
		if errors.As(err, &said) {
			said.Code = response.StatusCode
			return said
		}
	}
	status := &StatusError{Code: response.StatusCode, ContentType: kind}
	if at, err := response.Location(); err == nil && response.StatusCode/100 == 3 {
		status.Location = at.Redacted()
	}
	return status
}

func (c *Client) send(ctx context.Context, method, path string, form url.Values) (*http.Response, error) {
	address, text := c.base+"/api/v1/"+path, form.Encode()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(text)
	} else if text != "" {
		address += "?" + text
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return c.http.Do(r)
}

// because has the reason of a context that is done rather than the error that it led to.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// unreadable wraps what the decoder says, unless that is what the server says.
func unreadable(err error) error {
	var said *APIError
	switch {
	case errors.As(err, &said), errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &AnswerError{fmt.Errorf("it is cut off: %w", err)}
	}
	return &AnswerError{err}
}
