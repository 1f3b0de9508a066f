// SPDX-License-Identifier: Apache-2.0

// Package slo runs all that stands between a request and a page: a Go server, the exporter, Prometheus with the rules
// of the mixin, and Alertmanager with the example of its configuration.
package slo

import (
	"os"
	"testing"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
