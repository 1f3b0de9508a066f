// SPDX-License-Identifier: Apache-2.0

// Command tcpslo_exporter observes what the Linux TCP stack and unmodified Go
// net/http services do to each request and serves it to Prometheus.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/tcpslo/tcpslo/exporter/command"
)

func main() {
	app := kingpin.New("tcpslo_exporter", command.Help)
	app.Version(version.Print("tcpslo_exporter"))
	app.HelpFlag.Short('h')
	app.UsageWriter(os.Stdout)
	logging := &promslog.Config{}
	promslogflag.AddFlags(app, logging)

	run := command.AddRun(app, kingpinflag.AddFlags(app, ":10984"))
	check := command.AddCheckConfig(app)
	probes := command.AddProbes(app)
	audit := command.AddAudit(app)
	requests := command.AddRequests(app)
	importSLO := command.AddImportSLO(app)

	chosen, err := app.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "tcpslo_exporter: %v, try --help\n", err)
		os.Exit(2)
	}
	log := promslog.New(logging)
	failed := 1 // exit code
	switch chosen {
	case run.Name():
		err = run.Execute(log)
	case check.Name():
		err = check.Execute(os.Stdout)
	case probes.Name():
		err = probes.Execute(os.Stdout, log)
	case importSLO.Name():
		err = importSLO.Execute(os.Stdout, os.Stderr)
	case requests.Name():
		err = requests.Execute(os.Stdout, os.Stderr)
	case audit.Name():
		// 1 is for findings, which are told already, so that a pipeline can tell them
		// from an audit that did not take place.
		if err = audit.Execute(os.Stdout); errors.Is(err, command.ErrFindings) {
			os.Exit(1)
		}
		failed = 2
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tcpslo_exporter: %v\n", err)
		os.Exit(failed)
	}
}
