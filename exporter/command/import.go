// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/openslo"
)

// ImportSLO is the command that turns OpenSLO files into a configuration.
type ImportSLO struct {
	command *kingpin.CmdClause
	partial *bool
	files   *[]string
}

// AddImportSLO adds the command "import-slo".
func AddImportSLO(app *kingpin.Application) *ImportSLO {
	c := app.Command("import-slo", "Write the SLOs of OpenSLO v1 files as tcpslo.yml to standard output, and what they say that can't be counted here to standard error as file:line:column. Exits with 1, and writes no configuration, if an SLO had to be left out.")
	return &ImportSLO{c, c.Flag("partial", "Write the others although some were left out.").Bool(), c.Arg("file", "OpenSLO files, of one or more documents; SLOs may refer to SLIs in another one.").Required().Strings()}
}

// Name is the name of the command.
func (c *ImportSLO) Name() string { return c.command.FullCommand() }

// Execute imports. It needs no privilege.
func (c *ImportSLO) Execute(out, errOut io.Writer) error {
	var contents [][]byte
	for _, file := range *c.files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		contents = append(contents, content)
	}
	in := openslo.Import(*c.files, contents)
	for _, ignored := range in.Ignored {
		fmt.Fprintf(errOut, "%v (ignored)\n", ignored)
	}
	for _, refused := range in.Refused {
		fmt.Fprintf(errOut, "%v\n", refused)
	}
	if len(in.Refused) > 0 && !*c.partial {
		return fmt.Errorf("not everything could be imported; --partial writes the rest")
	}
	if len(in.Services) == 0 {
		return fmt.Errorf("there is no SLO to import")
	}
	text := in.YAML()
	if _, err := config.Parse("tcpslo.yml", []byte(text), Collectors()); err != nil {
		return fmt.Errorf("imported SLOs make no valid configuration:\n%w", err)
	}
	fmt.Fprint(out, text)
	return nil
}
