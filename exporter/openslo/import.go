// SPDX-License-Identifier: Apache-2.0

package openslo

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Imported is what files in the format say.
type Imported struct {
	Services map[string][]slo.Definition // by name, in the order of the files
	// Refused is why objectives, or files, were left out.
	Refused strictyaml.Errors
	// Ignored is what was left out of objectives that are there.
	Ignored strictyaml.Errors
}

// file is a file or one document of it.
type file struct {
	root *strictyaml.Node
	object
}

// Import reads files: name and content of each. A file may have several documents, and
// refer to indicators of another one.
func Import(names []string, contents [][]byte) *Imported {
	in := &Imported{Services: map[string][]slo.Definition{}}
	var all []file
	indicators := map[string]*indicatorSpec{}
	for i, name := range names {
		roots, err := strictyaml.Documents(name, contents[i])
		in.refuse(err)
		for _, root := range roots {
			f := file{root: root}
			if err := root.Decode(&f.object); err != nil {
				in.refuse(err)
				continue
			}
			if f.APIVersion != apiVersion {
				in.refuse(root.At("apiVersion").Errorf("apiVersion %q is not read, only %q", f.APIVersion, apiVersion))
				continue
			}
			all = append(all, f)
			if f.Kind == "SLI" {
				sli := &indicatorSpec{}
				in.refuse(f.decodeSpec(sli))
				indicators[f.Metadata.Name] = sli
			}
		}
	}
	for _, f := range all {
		switch f.Kind {
		case "SLO":
			in.objective(f, indicators)
		case "SLI", "Service":
		case "AlertPolicy", "AlertCondition", "AlertNotificationTarget":
			in.ignore(f.root.At("kind"), "%s %q: alerts are those of the mixin, which burn-rate alerts every SLO in the same way", f.Kind, f.Metadata.Name)
		case "DataSource":
			in.ignore(f.root.At("kind"), "DataSource %q: requests are counted by the exporter itself", f.Metadata.Name)
		default:
			in.refuse(f.root.At("kind").Errorf("unknown kind %q", f.Kind))
		}
	}
	return in
}

func (in *Imported) refuse(err error) {
	var several strictyaml.Errors
	var one *strictyaml.Error
	switch {
	case errors.As(err, &several):
		in.Refused = append(in.Refused, several...)
	case errors.As(err, &one):
		in.Refused = append(in.Refused, one)
	}
}

func (in *Imported) ignore(at *strictyaml.Node, format string, args ...any) {
	in.Ignored = append(in.Ignored, at.Errorf(format, args...))
}

// decodeSpec reads what is particular to the kind of an object.
func (f file) decodeSpec(into any) error {
	if f.Spec.Node == nil {
		return f.root.Errorf("%s %q has no spec", f.Kind, f.Metadata.Name)
	}
	return f.Spec.Decode(into)
}

// objective imports one SLO: a definition for each of its objectives.
func (in *Imported) objective(f file, indicators map[string]*indicatorSpec) {
	refuse := func(path, format string, args ...any) {
		in.refuse(f.root.At(path).Errorf("SLO %q is left out: %s", f.Metadata.Name, fmt.Sprintf(format, args...)))
	}
	var spec objectiveSpec
	if err := f.decodeSpec(&spec); err != nil {
		in.refuse(err)
		return
	}
	sli, sliPath := indicators[spec.IndicatorRef], "spec.indicatorRef"
	if spec.Indicator != nil {
		sli, sliPath = &spec.Indicator.Spec, "spec.indicator"
	}
	if sli == nil {
		refuse(sliPath, "there is no indicator %q in these files", spec.IndicatorRef)
		return
	}
	if spec.BudgetingMethod != "" && spec.BudgetingMethod != "Occurrences" {
		refuse("spec.budgetingMethod", "its budget is of %s, and here requests are counted (Occurrences)", spec.BudgetingMethod)
		return
	}
	if err := config.CheckName("service", spec.Service); err != nil {
		refuse("spec.service", "%s", err)
		return
	}
	window, key, err := windowOf(spec.TimeWindow)
	if err != nil {
		refuse(key, "%s", err)
		return
	}
	if spec.AlertPolicies.Node != nil {
		in.ignore(f.root.At("spec.alertPolicies:"), "alert policies of SLO %q: the mixin alerts on the burn rate of every SLO", f.Metadata.Name)
	}
	for i, o := range spec.Objectives {
		at := fmt.Sprintf("spec.objectives[%d]", i)
		what, err := sli.counted(o)
		if err != nil {
			refuse(sliPath, "%s", err)
			return
		}
		d := slo.Definition{Name: f.Metadata.Name, Window: window, Latency: what.latency, Path: what.path, Method: what.method}
		if len(spec.Objectives) > 1 {
			d.Name += "-" + cmp.Or(o.DisplayName, strconv.Itoa(i+1))
		}
		if d.Objective, err = o.percent(); err != nil {
			refuse(at, "%s", err)
			continue
		}
		if err := config.CheckName("SLO", d.Name); err != nil {
			refuse(at, "%s", err)
			continue
		}
		if problems := d.Validate(); problems != nil {
			refuse(at, "%s", problems[0].Message)
			continue
		}
		if err := in.overlaps(spec.Service, d); err != nil {
			refuse(at, "%s", err)
			continue
		}
		in.Services[spec.Service] = append(in.Services[spec.Service], d)
		if len(what.ignored) > 0 {
			in.ignore(f.root.At(sliPath), "labels %s in the queries of SLO %q: a service is what executes the file of its name, or what match says", strings.Join(what.ignored, ", "), f.Metadata.Name)
		}
		if sli.ThresholdMetric != nil {
			in.ignore(f.root.At(sliPath), "the query of SLO %q: its events were data points, and now are requests", f.Metadata.Name)
		}
	}
}

// overlaps refuses what check-config would.
func (in *Imported) overlaps(service string, d slo.Definition) error {
	for _, other := range in.Services[service] {
		switch {
		case other.Name == d.Name:
			return fmt.Errorf("service %q has an SLO %q already", service, d.Name)
		case other.Window == d.Window && other.CountsAs(d):
			return fmt.Errorf("it is about the same requests and window as SLO %q", other.Name)
		}
	}
	return nil
}

// percent is the objective, which the format writes in one of two ways.
func (o objective) percent() (float64, error) {
	switch {
	case (o.Target == nil) == (o.TargetPercent == nil):
		return 0, fmt.Errorf("an objective has either target or targetPercent")
	case o.Target != nil:
		return math.Round(*o.Target*1e12) / 1e10, nil // 0.999 * 100 is not 99.9
	}
	return *o.TargetPercent, nil
}

// counted reads what the indicator counts for an objective.
func (s indicatorSpec) counted(o objective) (counted, error) {
	switch ratio, threshold := s.RatioMetric, s.ThresholdMetric; {
	case (ratio == nil) == (threshold == nil):
		return counted{}, fmt.Errorf("its indicator has either ratioMetric or thresholdMetric")
	case threshold != nil:
		return ofThreshold(threshold.query(), o)
	case ratio.Raw != nil || ratio.Total == nil || (ratio.Good == nil) == (ratio.Bad == nil):
		return counted{}, fmt.Errorf("its indicator must have good and total, or bad and total, to tell what it counts")
	case ratio.Good != nil:
		return ofRatio(ratio.Good.query(), ratio.Total.query(), true)
	default:
		return ofRatio(ratio.Bad.query(), ratio.Total.query(), false)
	}
}

func ofThreshold(query string, o objective) (c counted, err error) {
	if o.Value == nil || o.Operator != "lte" && o.Operator != "lt" {
		return c, fmt.Errorf("an objective of a threshold needs value, and op: lte, to be a latency")
	}
	rest, err := c.narrow(query)
	if err != nil {
		return c, err
	}
	for _, m := range rest {
		if m.label != "le" && !isServerError(m, true) {
			return c, fmt.Errorf("its query leaves out others than 5xx by %s%s%q", m.label, m.operator, m.value)
		}
	}
	unit, err := unitOf(query)
	if err != nil {
		return c, err
	}
	c.latency, err = duration(*o.Value, unit)
	return c, err
}

// query is the text of a metric source, whatever the source calls it.
func (m *metric) query() string { return strings.Join(texts(m.Source.Spec.Node), "\n") }

var shorthand = regexp.MustCompile(`^[1-9][0-9]*[mhdw]$`)

// windowOf reads the time window; path is what is wrong with it.
func windowOf(windows []timeWindow) (window time.Duration, path string, err error) {
	if len(windows) == 0 {
		return slo.DefaultWindow, "", nil
	}
	w := windows[0]
	switch {
	case len(windows) > 1:
		return 0, "spec.timeWindow", fmt.Errorf("it has %d time windows", len(windows))
	case w.Calendar.Node != nil || w.IsRolling != nil && !*w.IsRolling:
		return 0, "spec.timeWindow[0]", fmt.Errorf("its window is one of the calendar, and here all are rolling")
	case !shorthand.MatchString(w.Duration):
		return 0, "spec.timeWindow[0].duration", fmt.Errorf("%q is no window of minutes, hours, days or weeks, such as 28d", w.Duration)
	}
	window, err = strictyaml.ParseDuration(w.Duration)
	return window, "spec.timeWindow[0].duration", err
}

// YAML writes the services as tcpslo.yml does.
func (in *Imported) YAML() string {
	var out strings.Builder
	out.WriteString("services:\n")
	for _, name := range slices.Sorted(maps.Keys(in.Services)) {
		fmt.Fprintf(&out, "  - name: %q\n    slos:\n", name)
		for _, d := range in.Services[name] {
			fmt.Fprintf(&out, "      - {name: %q, objective: %s, window: %s", d.Name, strconv.FormatFloat(d.Objective, 'f', -1, 64), minutes(d.Window))
			if d.Latency != 0 {
				fmt.Fprintf(&out, ", latency: %s", d.Latency)
			}
			if d.Path != "" {
				fmt.Fprintf(&out, ", path: %q", d.Path)
			}
			if d.Method != "" {
				fmt.Fprintf(&out, ", method: %s", d.Method)
			}
			out.WriteString("}\n")
		}
	}
	return out.String()
}

// minutes writes a window, which is no shorter than a minute.
func minutes(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
