// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tcpslo/tcpslo/exporter/observe"
)

// Probes is the command that tells which variant each probe gets.
type Probes struct {
	command    *kingpin.CmdClause
	configFile *string
	prefer     *string
}

// AddProbes adds the command "probes".
func AddProbes(app *kingpin.Application) *Probes {
	c := app.Command("probes", "Tell which variant each probe gets on this kernel, and why not the others.")
	return &Probes{c, c.Flag("config.file", "Configuration file.").PlaceHolder("tcpslo.yml").String(), preferFlag(c)}
}

// Name is the name of the command.
func (p *Probes) Name() string { return p.command.FullCommand() }

// Execute loads and attaches every probe for a moment and prints what it got.
func (p *Probes) Execute(out io.Writer, log *slog.Logger) error {
	c, err := loadConfig(*p.configFile)
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	observer, err := observe.Start(c, observe.Options{Prefer: split(*p.prefer)}, quiet)
	if err != nil {
		return err
	}
	defer observer.Close()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROBE\tPROGRAM\tVARIANT\tNOT USED, AND WHY")
	for _, s := range observer.Status() {
		variant := s.Variant
		if variant == "" {
			variant = "none"
		}
		for i, refused := range append(s.Refused, "") {
			switch {
			case i == 0:
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Probe, s.Program, variant, refused)
			case refused != "":
				fmt.Fprintf(table, "\t\t\t%s\n", refused)
			}
		}
	}
	return table.Flush()
}
