// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/audit"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// AuditOptions are the options of the collector "audit", which the command
// "audit" obeys, too.
type AuditOptions struct {
	Common `yaml:",inline"`
	// Rules are globs of files with rules of the user's own, relative to the
	// directory of the configuration file.
	Rules []string `yaml:"rules"`
	// Disable are ids of rules that are not judged.
	Disable []string `yaml:"disable"`

	files []audit.File // what Rules stands for, with its text: a changed file is a changed option
}

// NewAuditOptions returns the defaults. Once a minute is enough for what changes
// when somebody changes it, and it bounds the cost of looking through the
// sockets in TIME_WAIT.
func NewAuditOptions() *AuditOptions {
	return &AuditOptions{Common: Common{Interval: Interval(time.Minute)}}
}

// UnmarshalNode reads the options and the files that they name.
func (o *AuditOptions) UnmarshalNode(n *strictyaml.Node) error {
	type plain AuditOptions
	if err := n.Decode((*plain)(o)); err != nil {
		return err
	}
	folder := filepath.Dir(n.Errorf("").File)
	for i, glob := range o.Rules {
		at := n.At(fmt.Sprintf("rules[%d]", i))
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(folder, glob)
		}
		files, err := ReadRules(glob)
		if err != nil {
			return at.Errorf("%s", err)
		}
		o.files = append(o.files, files...)
	}
	rules, err := audit.Load(o.files)
	if err != nil {
		return err
	}
	var problems strictyaml.Errors
	audit.Disable(rules, o.Disable, func(i int, suggestion string) {
		problems = append(problems, n.At(fmt.Sprintf("disable[%d]", i)).Errorf("there is no rule %q to disable%s", o.Disable[i], suggestion))
	})
	if problems != nil {
		return problems
	}
	return nil
}

// Load returns the rules to judge: the built-in ones and those of the options and
// of more files, without those that are disabled.
func (o *AuditOptions) Load(more ...audit.File) ([]*audit.Rule, error) {
	rules, err := audit.Load(slices.Concat(o.files, more))
	if err != nil {
		return nil, err
	}
	return audit.Disable(rules, o.Disable, func(int, string) {}), nil
}

// ReadRules reads the files that a glob stands for. It may stand for none, but a
// file that is named must exist.
func ReadRules(glob string) ([]audit.File, error) {
	paths, err := filepath.Glob(glob)
	if err != nil {
		return nil, fmt.Errorf("files of rules %q: %w", glob, err)
	}
	if paths == nil && !strings.ContainsAny(glob, `*?[\`) {
		return nil, fmt.Errorf("files of rules %q: no such file", glob)
	}
	var files []audit.File
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		files = append(files, audit.File{Name: path, Text: text})
	}
	return files, nil
}

// ReceiveRings are the receive rings of the devices that have some, by name.
func ReceiveRings() (map[string]audit.Ring, error) {
	all, err := deviceRings()
	receive := map[string]audit.Ring{}
	for device, r := range all {
		if r.rxMax > 0 {
			receive[device] = audit.Ring{Entries: float64(r.rx), Max: float64(r.rxMax)}
		}
	}
	return receive, err
}

var auditKind = Kind{
	Collector: names.Audit,
	Options:   func() Options { return NewAuditOptions() },
	Judges:    true,
	New:       newAuditor,
}

// auditor judges the rules.
type auditor struct {
	rules       []*audit.Rule
	environment Environment
}

func newAuditor(environment Environment, options Options) (Collector, error) {
	rules, err := options.(*AuditOptions).Load()
	if err != nil {
		return nil, err
	}
	return &auditor{rules, environment}, nil
}

func (a *auditor) Update() (*Found, error) {
	source := audit.Source{
		Procfs: a.environment.Procfs, Sysfs: a.environment.Sysfs, Rings: ReceiveRings,
		NoMetrics: "the probes have not been read yet",
	}
	if a.environment.Owners != nil {
		source.Owners = func([]uint32) (map[uint32]audit.Owner, error) { return a.environment.Owners(), nil }
	}
	if a.environment.Counted != nil {
		source.Metrics = a.environment.Counted()
	}
	report := audit.Judge(a.rules, audit.Look(source))
	type labels struct{ rule, severity, service, listener string }
	findings, notJudged := map[labels]int{}, map[string]int{}
	for _, f := range report.Findings {
		findings[labels{f.Rule, string(f.Severity), f.Service, f.Listener}]++
	}
	for _, n := range report.NotJudged {
		notJudged[n.Rule]++
	}
	f := &Found{}
	for l, n := range findings {
		// Only listeners of the own network namespace are judged: the sysctls of
		// another one can't be read from here.
		f.Add(names.AuditFinding, float64(n), l.rule, l.severity, l.service, l.listener, "")
	}
	for rule, n := range notJudged {
		f.Add(names.AuditNotJudged, float64(n), rule)
	}
	return f, nil
}

func (a *auditor) Close() error { return nil }
