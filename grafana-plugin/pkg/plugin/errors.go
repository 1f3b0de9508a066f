// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"net/http"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// errQuery is what is wrong with a query itself: its author can mend it.
type errQuery struct{ error }

// failed is the answer to a query that failed: the one place that tells whose fault an error is, for
// Grafana counts those of plugins against them. All that Prometheus, an exporter, the network or a user
// of Grafana does wrong is downstream. PromQL that can't be parsed is the plugin's own.
func failed(err error) backend.DataResponse {
	answer := backend.DataResponse{Error: err, ErrorSource: backend.ErrorSourceDownstream, Status: backend.StatusBadGateway}
	var api *promapi.APIError
	var status *promapi.StatusError
	var wrong errQuery
	switch {
	case errors.As(err, &wrong):
		answer.Status = backend.StatusBadRequest
	case errors.As(err, &api) && api.Type == "bad_data":
		answer.Status, answer.ErrorSource = backend.StatusInternal, backend.ErrorSourcePlugin
	case errors.As(err, &api) && api.Type == "timeout", errors.Is(err, context.DeadlineExceeded):
		answer.Status = backend.StatusTimeout
	case errors.Is(err, context.Canceled):
		answer.Status = 499 // what nginx and Grafana call a client that has gone
	case errors.As(err, &api):
		answer.Status = backend.Status(http.StatusUnprocessableEntity)
	case errors.As(err, &status):
		switch status.Code {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
			answer.Status = backend.Status(status.Code)
		}
	}
	return answer
}
