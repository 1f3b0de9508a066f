// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/host"
	"github.com/tcpslo/tcpslo/exporter/observe"
)

// CheckConfig is the command that checks configuration files.
type CheckConfig struct {
	command *kingpin.CmdClause
	files   *[]string
}

// AddCheckConfig adds the command "check-config".
func AddCheckConfig(app *kingpin.Application) *CheckConfig {
	c := app.Command("check-config", "Check configuration files and the probe files that they name; prints every error as file:line:column and exits with 1 if there is one.")
	return &CheckConfig{c, c.Arg("file", "Configuration files.").Required().Strings()}
}

// Name is the name of the command.
func (c *CheckConfig) Name() string { return c.command.FullCommand() }

// Execute checks the files. It needs no privilege.
func (c *CheckConfig) Execute(out io.Writer) error {
	var all []error
	for _, file := range *c.files {
		c, err := checkFile(file)
		if err != nil {
			all = append(all, err)
			continue
		}
		for _, doubt := range c.Doubts {
			fmt.Fprintf(out, "%v (warning)\n", doubt)
		}
		fmt.Fprintf(out, "%s: valid\n", file)
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("invalid configuration:\n%w", err)
	}
	return nil
}

func checkFile(file string) (*config.Config, error) {
	c, err := config.Load(file, Collectors())
	if err != nil {
		return nil, err
	}
	return c, observe.Check(c)
}

// Collectors are the names that may stand under "collectors".
func Collectors() []string {
	var all []string
	for _, p := range bpf.Probes() {
		if !strings.EqualFold(p.Name, "service") {
			all = append(all, p.Name)
		}
	}
	return append(all, host.Names()...)
}
