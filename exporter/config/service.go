// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/route"
	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Service is a service with a name and objectives of its own.
type Service struct {
	Name string `yaml:"name,required"`
	// Match tells which processes are this service. Without it those whose
	// executable has the service's name are.
	Match *Match `yaml:"match"`
	// Routes are templates in the syntax of net/http, for services whose router
	// doesn't fill in http.Request.Pattern.
	Routes []string `yaml:"routes"`
	// SLOs are the objectives; slo.Defaults where the file has none, and no
	// objective at all where it has an empty list.
	SLOs []slo.Definition `yaml:"slos"`
	// SlowerThan is what a slow request takes longer than, from the first stage that was
	// seen to the end of its handler: 1us to 1h. Without it that is what 1 % of the requests of
	// the same process take longer than.
	SlowerThan time.Duration `yaml:"slower_than"`

	routes *route.Set
}

// Route returns the template of Routes that a request belongs to.
func (s *Service) Route(method, path string) (template string, ok bool) {
	return s.routes.Match(method, path)
}

// SLOPaths lists the paths that objectives are about, each once.
func (s *Service) SLOPaths() []string {
	var all []string
	for _, d := range s.SLOs {
		if d.Path != "" && !slices.Contains(all, d.Path) {
			all = append(all, d.Path)
		}
	}
	return all
}

// Match is what a process must be like; all that is given must hold.
type Match struct {
	// Executable is compared with the path of the executable, or with its base
	// name if the pattern has no slash.
	Executable Glob `yaml:"executable"`
	// Ports are TCP ports; the process listens on at least one of them.
	Ports []uint16 `yaml:"ports"`
	// CommandLine is searched for in the arguments, joined by spaces.
	CommandLine *regexp.Regexp `yaml:"command_line"`
	// Cgroup is compared with the path of the control group.
	Cgroup Glob `yaml:"cgroup"`
	// User is the name or number of the effective user.
	User User `yaml:"user"`
}

// Process is what a Match looks at.
type Process struct {
	Executable  string   // absolute path, as /proc/PID/exe links to it
	CommandLine string   // arguments joined by spaces
	Cgroup      string   // path in the unified hierarchy, as in /proc/PID/cgroup
	User        string   // name of the effective user, empty if it has none
	UID         uint32   // number of the effective user
	Ports       []uint16 // TCP ports that it listens on
}

// ServiceFor returns the service that a process belongs to: the first of the file
// that matches, else one named after the executable, with the default objectives.
// The name is empty if even the executable is unknown. The service is never nil
// and must not be changed.
func (c *Config) ServiceFor(p Process) (name string, service *Service) {
	p.Executable = strings.TrimSuffix(p.Executable, " (deleted)") // Replaced while it runs.
	for _, s := range c.Services {
		if s.Match.Matches(p) {
			return s.Name, s
		}
	}
	if p.Executable != "" {
		name = path.Base(p.Executable)
	}
	return name, c.ServiceNamed(name)
}

// ServiceNamed returns the service of a name: metrics know no more of it. One that the
// file doesn't list has the default objectives. It is never nil and must not be changed.
func (c *Config) ServiceNamed(name string) *Service {
	for _, s := range c.Services {
		if s.Name == name {
			return s
		}
	}
	return &Service{Name: name, SLOs: slo.Defaults()}
}

// Matches tells whether everything that is given holds for the process.
func (m *Match) Matches(p Process) bool {
	executable := p.Executable
	if executable != "" && !strings.Contains(m.Executable.pattern, "/") {
		executable = path.Base(executable)
	}
	return !m.empty() &&
		(m.Executable.pattern == "" || m.Executable.Match(executable)) &&
		(len(m.Ports) == 0 || slices.ContainsFunc(m.Ports, func(port uint16) bool { return slices.Contains(p.Ports, port) })) &&
		(m.CommandLine == nil || m.CommandLine.MatchString(p.CommandLine)) &&
		(m.Cgroup.pattern == "" || m.Cgroup.Match(p.Cgroup)) &&
		(m.User == "" || m.User.is(p))
}

func (m *Match) empty() bool {
	return m.Executable.pattern == "" && len(m.Ports) == 0 && m.CommandLine == nil && m.Cgroup.pattern == "" && m.User == ""
}

// equal tells whether two matches say the same.
func (m *Match) equal(other *Match) bool {
	text := func(r *regexp.Regexp) string {
		if r == nil {
			return ""
		}
		return r.String()
	}
	sorted := func(ports []uint16) []uint16 { return slices.Sorted(slices.Values(ports)) }
	return m.Executable.pattern == other.Executable.pattern && slices.Equal(sorted(m.Ports), sorted(other.Ports)) &&
		text(m.CommandLine) == text(other.CommandLine) && m.Cgroup.pattern == other.Cgroup.pattern && m.User == other.User
}

// User is the name of a user or, in digits, its number.
type User string

// UnmarshalNode reads a name or a number.
func (u *User) UnmarshalNode(n *strictyaml.Node) error {
	if n.Kind() == strictyaml.Scalar {
		var uid uint32
		if n.Decode(&uid) == nil {
			*u = User(strconv.FormatUint(uint64(uid), 10))
			return nil
		}
		var name string
		if n.Decode(&name) == nil && name != "" {
			*u = User(name)
			return nil
		}
	}
	return n.Errorf("%q must be the name of a user or its number", n.Name())
}

func (u User) is(p Process) bool {
	return string(u) == p.User || string(u) == strconv.FormatUint(uint64(p.UID), 10)
}
