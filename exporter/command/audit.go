// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tcpslo/tcpslo/exporter/audit"
	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/host"
)

// Audit is the command that judges how kernel parameters, listeners and
// http.Servers fit together.
type Audit struct {
	command    *kingpin.CmdClause
	configFile *string
	rules      *[]string
	failOn     *string
	output     *string
	exporter   *string
	timeout    *time.Duration
	procfs     *string
	sysfs      *string
}

// AddAudit adds the command "audit".
func AddAudit(app *kingpin.Application) *Audit {
	c := app.Command("audit", "Judge how kernel parameters, listeners and http.Servers of this machine fit together. Needs no privilege; says what it could not judge without. Exits with 1 if there is a finding that --fail-on names, with 2 if it could not audit.")
	return &Audit{
		command:    c,
		configFile: c.Flag("config.file", "Configuration file; its services name the processes, and its collectors.audit has rules and disable.").PlaceHolder("tcpslo.yml").String(),
		rules:      c.Flag("rules", "Files of rules of your own, besides the built-in ones; may be a pattern, and be there more than once.").PlaceHolder("FILE").Strings(),
		failOn:     c.Flag("fail-on", "The mildest severity that makes it exit with 1: "+strings.Join(audit.Severities(), ", ")+".").Default(string(audit.Warning)).Enum(audit.Severities()...),
		output:     c.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json"),
		exporter:   c.Flag("exporter", "URL of the exporter that runs on this machine, such as http://localhost:10984: it knows the live http.Servers, how services read, and whose the listeners are.").PlaceHolder("URL").String(),
		timeout:    c.Flag("exporter.timeout", "How long the exporter may take.").Default("10s").Duration(),
		procfs:     c.Flag("path.procfs", "Where procfs is mounted.").Default("/proc").String(),
		sysfs:      c.Flag("path.sysfs", "Where sysfs is mounted.").Default("/sys").String(),
	}
}

// Name is the name of the command.
func (a *Audit) Name() string { return a.command.FullCommand() }

// ErrFindings says that the audit found what --fail-on names.
var ErrFindings = errors.New("the audit has findings")

// Execute judges and prints. The error is ErrFindings if there are findings of
// the severity of --fail-on; any other says that nothing could be judged.
func (a *Audit) Execute(out io.Writer) error {
	rules, c, err := a.load()
	if err != nil {
		return err
	}
	source := audit.Source{
		Procfs: *a.procfs, Sysfs: *a.sysfs, Rings: host.ReceiveRings,
		NoMetrics: "only a running exporter knows: --exporter=http://localhost:10984",
		Owners: func(inodes []uint32) (map[uint32]audit.Owner, error) {
			return audit.FindOwners(*a.procfs, inodes, func(executable string) string {
				name, _ := c.ServiceFor(config.Process{Executable: executable})
				return name
			})
		},
	}
	if *a.exporter != "" {
		if err := a.ask(&source); err != nil {
			return err
		}
	}
	report := audit.Judge(rules, audit.Look(source))
	if *a.output == "json" {
		err = writeIndented(out, report)
	} else {
		terminal := false
		if f, ok := out.(*os.File); ok {
			terminal = isTerminal(f) && os.Getenv("NO_COLOR") == ""
		}
		err = printReport(out, report, terminal)
	}
	if err == nil && report.Fails(audit.Severity(*a.failOn)) {
		return ErrFindings
	}
	return err
}

// load reads the configuration and the rules.
func (a *Audit) load() ([]*audit.Rule, *config.Config, error) {
	c, err := loadConfig(*a.configFile)
	if err != nil {
		return nil, nil, err
	}
	options := host.NewAuditOptions()
	if err := c.Collectors["audit"].Options(options); err != nil {
		return nil, nil, err
	}
	var files []audit.File
	for _, glob := range *a.rules {
		more, err := host.ReadRules(glob)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, more...)
	}
	rules, err := options.Load(files...)
	return rules, c, err
}

// ask gets what a running exporter knows.
func (a *Audit) ask(source *audit.Source) error {
	ctx, cancel := context.WithTimeout(context.Background(), *a.timeout)
	defer cancel()
	base := strings.TrimSuffix(*a.exporter, "/")
	var families []*dto.MetricFamily
	err := get(ctx, base+"/metrics", func(body io.Reader) error {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		byName, err := parser.TextToMetricFamilies(body)
		for _, family := range byName {
			families = append(families, family)
		}
		return err
	})
	if err != nil {
		return err
	}
	source.Metrics = audit.ReadMetrics(families)
	var known struct {
		Listeners []struct {
			Inode   uint32 `json:"inode"`
			PID     uint32 `json:"pid"`
			Service string `json:"service"`
		} `json:"listeners"`
	}
	err = get(ctx, base+"/api/v1/listeners", func(body io.Reader) error { return json.NewDecoder(body).Decode(&known) })
	if errors.Is(err, errNotFound) {
		return nil // --no-web.enable-api: procfs tells what it may
	}
	owners := map[uint32]audit.Owner{}
	for _, l := range known.Listeners {
		owners[l.Inode] = audit.Owner{PID: l.PID, Service: l.Service}
	}
	source.Owners = func([]uint32) (map[uint32]audit.Owner, error) { return owners, nil }
	return err
}

var errNotFound = errors.New("not found")

// get reads the answer to a request.
func get(ctx context.Context, url string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask the exporter: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the exporter: %w", err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("ask the exporter: %s: %w", request.URL.Redacted(), errNotFound)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("ask the exporter: %s answered %s", request.URL.Redacted(), response.Status)
	}
	if err := read(response.Body); err != nil {
		return fmt.Errorf("ask the exporter: answer of %s: %w", request.URL.Redacted(), err)
	}
	return nil
}

func writeIndented(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// colours of the severities (ECMA-48): red, yellow, cyan.
var severityColours = map[audit.Severity]string{audit.Critical: "31", audit.Warning: "33", audit.Info: "36"}

// printReport prints findings, what was not judged and a sum.
func printReport(out io.Writer, report audit.Report, colour bool) error {
	var all strings.Builder
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	width := len("SEVERITY")
	idWidth := 0
	for _, f := range report.Findings {
		idWidth = max(idWidth, len(f.Rule))
	}
	if len(report.Findings) > 0 {
		fmt.Fprintf(&all, "%-*s  %-*s  %s\n", width, "SEVERITY", idWidth, "RULE", "WHAT, WHY AND THE COMMAND THAT FIXES IT")
	}
	indent := strings.Repeat(" ", width+idWidth+4)
	for _, f := range report.Findings {
		fmt.Fprintf(&all, "%s%s  %-*s  %s\n", paint(severityColours[f.Severity], string(f.Severity)), strings.Repeat(" ", width-len(f.Severity)), idWidth, f.Rule, paint("1", f.What))
		for _, row := range []struct{ name, text string }{{"why", f.Why}, {"fix", f.Fix}, {"see", f.Link}} {
			if row.text != "" {
				fmt.Fprintf(&all, "%s%s  %s\n", indent, row.name, row.text)
			}
		}
	}
	if len(report.NotJudged) > 0 {
		if len(report.Findings) > 0 {
			all.WriteString("\n")
		}
		all.WriteString("NOT JUDGED\n")
		printNotJudged(&all, report.NotJudged)
	}
	if all.Len() > 0 {
		all.WriteString("\n")
	}
	fmt.Fprintf(&all, "%s; %s passed; %s not judged.\n", countOf(report.Findings), rules(len(report.Passed)), rules(len(unjudgedRules(report.NotJudged))))
	_, err := io.WriteString(out, all.String())
	return err
}

// printNotJudged prints rules by reason: one missing exporter is the reason of
// many.
func printNotJudged(out io.Writer, all []audit.NotJudged) {
	var reasons []string
	byReason := map[string][]audit.NotJudged{}
	for _, n := range all {
		if byReason[n.Reason] == nil {
			reasons = append(reasons, n.Reason)
		}
		byReason[n.Reason] = append(byReason[n.Reason], n)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, reason := range reasons {
		for _, id := range unjudgedRules(byReason[reason]) {
			var subjects []string
			for _, n := range byReason[reason] {
				if n.Rule == id && n.Subject != "" {
					subjects = append(subjects, n.Subject)
				}
			}
			if len(subjects) > 3 {
				subjects = append(subjects[:3], fmt.Sprintf("%d more", len(subjects)-3))
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\n", id, strings.Join(subjects, ", "), reason)
		}
	}
	table.Flush()
}

// unjudgedRules are the rules in a list, each once.
func unjudgedRules(all []audit.NotJudged) []string {
	var ids []string
	for _, n := range all {
		if !slices.Contains(ids, n.Rule) {
			ids = append(ids, n.Rule)
		}
	}
	return ids
}

func rules(n int) string {
	if n == 1 {
		return "1 rule"
	}
	return fmt.Sprintf("%d rules", n)
}

// countOf writes "3 findings (1 critical, 2 warning)".
func countOf(findings []audit.Finding) string {
	if len(findings) == 0 {
		return "No findings"
	}
	var parts []string
	for _, severity := range slices.Backward(audit.Severities()) {
		n := 0
		for _, f := range findings {
			if string(f.Severity) == severity {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, severity))
		}
	}
	noun := "findings"
	if len(findings) == 1 {
		noun = "finding"
	}
	return fmt.Sprintf("%d %s (%s)", len(findings), noun, strings.Join(parts, ", "))
}
