// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tcpslo/tcpslo/exporter/route"
	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// maxNameBytes bounds names, which become label values.
const maxNameBytes = 128

// validator looks for what decoding cannot see and fills in the defaults that
// depend on other values.
type validator struct {
	*strictyaml.Document
	config     *Config
	collectors []string
}

func (v *validator) check() {
	for i, s := range v.config.Services {
		if s == nil {
			v.Reportf(fmt.Sprintf("services[%d]", i), "a service must not be empty")
			v.config.Services[i] = &Service{Match: &Match{}}
			continue
		}
		v.service(fmt.Sprintf("services[%d]", i), i, s)
	}
	for name := range v.config.Collectors {
		if !slices.Contains(v.collectors, name) {
			v.Reportf(fmt.Sprintf("collectors.%q:", name), "unknown collector %q%s", name, strictyaml.Suggest(name, v.collectors))
		}
	}
	if v.config.Histograms.RequestBuckets.NativeSchema != nil {
		v.Reportf("histograms.request_buckets.native_schema:", `"native_schema" of requests is that of histograms, one level up`)
	}
	v.limits()
	for i, glob := range v.config.ProbeFiles {
		if _, err := filepath.Match(glob, ""); err != nil || glob == "" {
			v.Reportf(fmt.Sprintf("probe_files[%d]", i), "%q is no valid glob", glob)
		}
	}
}

func (v *validator) service(path string, index int, s *Service) {
	v.name(path+".name", "service", s.Name)
	v.match(path, s)
	earlier := v.config.Services[:index]
	for _, other := range earlier {
		if s.Name != "" && other.Name == s.Name {
			v.Reportf(path+".name", "duplicate service %q", s.Name)
			break
		}
	}
	for _, other := range earlier {
		if !s.Match.empty() && s.Match.equal(other.Match) {
			v.Reportf(path+".match", "matches the same processes as service %q, which comes first", other.Name)
			break
		}
	}
	v.routes(path, s)
	if s.SLOs == nil {
		s.SLOs = slo.Defaults()
	}
	if t := s.SlowerThan; t != 0 && (t < time.Microsecond || t > time.Hour) {
		v.Reportf(path+".slower_than", `"slower_than" must be between 1us and 1h, got %v`, t)
	}
	for i := range s.SLOs {
		v.slo(fmt.Sprintf("%s.slos[%d]", path, i), s, i)
	}
	if most := v.config.Limits.PathsPerService; len(s.SLOPaths()) > most {
		v.Reportf(path+".slos", "objectives of service %q are about %d paths, and limits.paths_per_service is %d: raise it", s.Name, len(s.SLOPaths()), most)
	}
}

func (v *validator) name(path, what, name string) {
	if err := CheckName(what, name); err != nil {
		v.Reportf(path, "%s", err)
	}
}

// CheckName checks what will be a label value that people type in queries: the name of a
// service or an SLO.
func CheckName(what, name string) error {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	switch {
	case name == "":
		return fmt.Errorf("the name of a %s must not be empty", what)
	case len(name) > maxNameBytes:
		return fmt.Errorf("the name of a %s must not be longer than %d bytes, got %d", what, maxNameBytes, len(name))
	case strings.ContainsFunc(name, bad) || strings.TrimSpace(name) != name:
		return fmt.Errorf("the name of a %s must be printable without spaces around it, got %q", what, name)
	}
	return nil
}

func (v *validator) match(path string, s *Service) {
	if s.Match == nil {
		s.Match = &Match{}
		if s.Name != "" {
			s.Match.Executable = literalGlob(s.Name)
		}
		return
	}
	if s.Match.empty() {
		v.Reportf(path+".match", `"match" must have at least one of executable, ports, command_line, cgroup, user`)
	}
	for i, port := range s.Match.Ports {
		at := fmt.Sprintf("%s.match.ports[%d]", path, i)
		switch {
		case port == 0:
			v.Reportf(at, "a port must be between 1 and 65535, got 0")
		case slices.Contains(s.Match.Ports[:i], port):
			v.Reportf(at, "duplicate port %d", port)
		}
	}
}

func (v *validator) routes(path string, s *Service) {
	set, err := route.Compile(s.Routes)
	var problems route.Errors
	errors.As(err, &problems)
	for _, problem := range problems {
		v.Reportf(fmt.Sprintf("%s.routes[%d]", path, problem.Index), "%s", problem.Message)
	}
	s.routes = set
}

func (v *validator) slo(path string, s *Service, index int) {
	d, earlier := s.SLOs[index], s.SLOs[:index]
	v.name(path+".name", "SLO", d.Name)
	problems := d.Validate()
	for _, problem := range problems {
		v.Reportf(path+"."+problem.Key, "%s", problem.Message)
	}
	templates := paths(s.Routes)
	if d.Path != "" && len(problems) == 0 && len(templates) > 0 && !slices.Contains(templates, d.Path) {
		v.Reportf(path+".path", "%q is none of the routes of service %q%s", d.Path, s.Name, strictyaml.Suggest(d.Path, templates))
	}
	for _, other := range earlier {
		switch {
		case d.Name != "" && other.Name == d.Name:
			v.Reportf(path+".name", "duplicate SLO %q", d.Name)
			return
		case other.Window == d.Window && other.CountsAs(d):
			v.Reportf(path, "SLO %q is about the same requests and window as SLO %q", d.Name, other.Name)
			return
		}
	}
}

// paths are the paths of routes, which is what metrics tell of them.
func paths(routes []string) []string {
	var all []string
	for _, r := range routes {
		if _, path := route.Split(r); !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return all
}

// doubt looks for what is allowed but hardly meant. The services have been checked.
func (v *validator) doubt() {
	for i, s := range v.config.Services {
		for j, d := range s.SLOs {
			for _, doubt := range d.Doubts() {
				at := fmt.Sprintf("services[%d].slos[%d].%s", i, j, doubt.Key)
				v.config.Doubts = append(v.config.Doubts, v.Errorf(at, "%s", doubt.Message))
			}
		}
	}
}

func (v *validator) limits() {
	l := v.config.Limits
	for _, limit := range []struct {
		name             string
		value, min, most int
	}{
		{"paths_per_service", l.PathsPerService, 1, 10_000},
		{"slow_requests", l.SlowRequests, 0, 100_000},
		{"listeners", l.Listeners, 16, 1_000_000},
		{"connections", l.Connections, 64, 1 << 22},
	} {
		if limit.value < limit.min || limit.value > limit.most {
			v.Reportf("limits."+limit.name, "%q must be between %d and %d, got %d", limit.name, limit.min, limit.most, limit.value)
		}
	}
	if l.SeriesRetention > time.Hour {
		v.Reportf("limits.series_retention", `"series_retention" must be between 0s and 1h, got %s`, l.SeriesRetention)
	}
}
