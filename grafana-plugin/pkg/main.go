// SPDX-License-Identifier: Apache-2.0

// gpx_tcpslo_slo is the backend of the Grafana datasource tcpslo-slo-datasource.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-plugin-sdk-go/backend/datasource"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/plugin"
)

func main() {
	if err := datasource.Manage(plugin.ID, plugin.New, datasource.ManageOpts{}); err != nil {
		fmt.Fprintln(os.Stderr, "gpx_tcpslo_slo:", err)
		os.Exit(1)
	}
}
