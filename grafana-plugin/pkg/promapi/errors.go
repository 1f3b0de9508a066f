// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// MaxBody is the longest answer that is read, bytes after decompression.
const MaxBody = 64 << 20

var (
	// ErrTooLarge is an answer that is longer than MaxBody or has too many values.
	ErrTooLarge = errors.New("the answer is too large: choose fewer services, a shorter range or fewer points")

	errTooLong       = fmt.Errorf("more than %d MiB: %w", MaxBody>>20, ErrTooLarge)
	errTooManySeries = fmt.Errorf("more than %d values: %w", maxCells, ErrTooLarge)
)

// APIError is what a server says in the words of Prometheus's API.
type APIError struct {
	Code int // of HTTP, 0 if it was 200
	// Type is bad_data, execution, timeout, canceled, unavailable, not_found, …
	Type    string
	Message string
}

// Error has the server's own words.
func (e *APIError) Error() string {
	return fmt.Sprintf("prometheus refused the query (%s): %s", e.Type, e.Message)
}

// StatusError is an answer that is none of the API: an HTTP status, or a page that is not
// JSON, of a proxy, a login or another program.
type StatusError struct {
	Code        int
	ContentType string
	Location    string // where a redirect leads to that isn't followed
}

// Error says what came and what to look at.
func (e *StatusError) Error() string {
	status := fmt.Sprintf("%d %s", e.Code, http.StatusText(e.Code))
	switch {
	case e.Location != "":
		return fmt.Sprintf("the server redirects to %q, another host, which would get the password too: set that URL in the datasource", e.Location)
	case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden:
		return fmt.Sprintf("the server answered %s: check user, password, token and headers of the datasource", status)
	case e.Code == http.StatusNotFound:
		return fmt.Sprintf("the server answered %s: is the URL that of a Prometheus-compatible API, with its prefix (/prometheus)?", status)
	case e.Code/100 == 2:
		return fmt.Sprintf("the server answered %s with %q, not JSON: is the URL that of a Prometheus-compatible API, and not of a page or a login?", status, e.ContentType)
	}
	return fmt.Sprintf("the server answered %s", status)
}

// AnswerError is an answer of HTTP status 200 that is not what was asked for.
type AnswerError struct{ err error }

// Error says what is wrong with it.
func (e *AnswerError) Error() string {
	return "the answer of prometheus cannot be read: " + e.err.Error()
}

// Unwrap gives io.ErrUnexpectedEOF for an answer that is cut off.
func (e *AnswerError) Unwrap() error { return e.err }

// bounded refuses to read more than MaxBody.
type bounded struct {
	io.Reader
	left int64
}

func newBounded(in io.Reader) *bounded { return &bounded{in, MaxBody} }

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		// A body of exactly MaxBody ends here.
		if n, err := b.Reader.Read(p[:1]); n == 0 {
			return 0, err
		}
		return 0, errTooLong
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
