// SPDX-License-Identifier: Apache-2.0

// Command tcpslo_exporter observes what the Linux TCP stack and unmodified Go
// net/http services do to each request and serves it to Prometheus.
package main

import (
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

	chosen := kingpin.MustParse(app.Parse(os.Args[1:]))
	log := promslog.New(logging)
	var err error
	switch chosen {
	case run.Name():
		err = run.Execute(log)
	case check.Name():
		err = check.Execute(os.Stdout)
	case probes.Name():
		err = probes.Execute(os.Stdout, log)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tcpslo_exporter: %v\n", err)
		os.Exit(1)
	}
}
