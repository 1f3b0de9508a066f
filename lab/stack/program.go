// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// role is what stands behind the image of a service.
type role struct {
	name  string
	pkg   string   // Go package to build, "" for a program that is installed
	names []string // of the program that is installed
	from  string   // what to install for it
	page  string   // what people look at; "" if it serves nothing
	ready string   // below page, answers 200 once it serves
}

// roles are in the order of start.
var roles = []role{
	{name: "shop", pkg: "./lab/server", page: "http://127.0.0.1:18080", ready: "/-/stats"},
	{name: "exporter", pkg: "./exporter", page: "http://127.0.0.1:10984", ready: "/readyz"},
	{name: "alertmanager", names: []string{"alertmanager", "prometheus-alertmanager"}, from: "Debian's package prometheus-alertmanager", page: "http://127.0.0.1:9093", ready: "/-/ready"},
	{name: "prometheus", names: []string{"prometheus"}, from: "Debian's package prometheus", page: "http://127.0.0.1:9090", ready: "/-/ready"},
	{name: "grafana", page: "http://127.0.0.1:3000", ready: "/api/health"},
	{name: "customers", pkg: "./deploy/sample"},
}

// program is a service of the compose file as a process of this machine.
type program struct {
	role
	path string
	args []string
	env  []string // added to the environment
}

// layout says where things are.
type layout struct {
	root, state string // of the repository; what outlives a run
	grafana     string // GRAFANA_HOME, "" for none
}

// plugins is where the image of Grafana has its plugins (deploy/Dockerfile).
const plugins = "/usr/share/tcpslo/plugins"

// plan makes programs of services, in the order of start.
func (l layout) plan(c *compose) (programs []program, err error) {
	var errs []error
	for _, r := range roles {
		s, there := c.Services[r.name]
		if !there {
			return nil, fmt.Errorf("the compose file has no service %q", r.name)
		}
		if r.name == "grafana" && l.grafana == "" {
			continue
		}
		p := program{role: r}
		if p.path, p.args, err = l.find(r); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, argument := range s.Command {
			p.args = append(p.args, l.local(s, argument))
		}
		for name, value := range s.Environment {
			p.env = append(p.env, l.local(s, name+"="+value))
		}
		slices.Sort(p.env)
		if slices.Contains(s.CapDrop, "ALL") {
			p.path, p.args = "setpriv", slices.Concat([]string{bounding(s.CapAdd), "--inh-caps=-all", "--", p.path}, p.args)
		}
		programs = append(programs, p)
	}
	return programs, errors.Join(errs...)
}

// find returns the executable of a service, and the arguments that an image would add.
func (l layout) find(r role) (path string, args []string, err error) {
	switch {
	case r.pkg != "":
		return l.built(r), nil, nil
	case r.name == "grafana":
		backend := "gpx_tcpslo_slo_linux_" + runtime.GOARCH
		for _, file := range []string{"module.js", backend} {
			if _, err := os.Stat(filepath.Join(l.root, "grafana-plugin", "dist", file)); err != nil {
				return "", nil, fmt.Errorf("the plugin is not built (run make plugin): %w", err)
			}
		}
		path = filepath.Join(l.grafana, "bin", "grafana")
		if _, err := os.Stat(path); err != nil {
			return "", nil, fmt.Errorf("GRAFANA_HOME must name the folder of a Grafana: %w", err)
		}
		return path, []string{"server", "--homepath=" + l.grafana}, nil
	}
	for _, name := range r.names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil, nil
		}
	}
	return "", nil, fmt.Errorf("%s is not installed: it is in %s", r.name, r.from)
}

// built is the executable of a service that is built here. It has the service's name, by which the exporter calls it.
func (l layout) built(r role) string { return filepath.Join(l.state, "bin", r.name) }

// local is an argument, an address or a path of a container, as this machine has it: NAME=/PATH or /PATH becomes what is
// mounted there.
func (l layout) local(s service, argument string) string {
	name, path, assigned := strings.Cut(argument, "=")
	if !assigned {
		name, path = "", argument
	} else {
		name += "="
	}
	mounts := append([]mount{{source: "plugins", target: plugins}}, s.Volumes...)
	for _, m := range mounts {
		below, is := strings.CutPrefix(path, m.target)
		if !is || below != "" && below[0] != '/' {
			continue
		}
		switch {
		case m.named():
			return name + filepath.Join(l.state, m.source) + below
		case !filepath.IsAbs(m.source):
			return name + filepath.Join(l.root, m.source) + below
		}
	}
	return argument
}

// bounding makes setpriv, which is part of every Linux, give root no other capabilities.
func bounding(capabilities []string) string {
	option := "--bounding-set=-all"
	for _, capability := range capabilities {
		option += ",+" + strings.ToLower(capability)
	}
	return option
}

// folders makes what the programs expect to be there.
func (l layout) folders(c *compose) error {
	for name := range c.Volumes {
		if err := os.MkdirAll(filepath.Join(l.state, name), 0o755); err != nil {
			return err
		}
	}
	folder := filepath.Join(l.state, "plugins")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	link := filepath.Join(folder, "tcpslo-slo-datasource")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(filepath.Join(l.root, "grafana-plugin", "dist"), link)
}

// free tells whether nobody listens where the programs want to.
func free(programs []program) error {
	var errs []error
	for _, p := range programs {
		if p.page == "" {
			continue
		}
		at, err := url.Parse(p.page)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", at.Host)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s cannot listen on %s: %w; end what does (a package may have started it: systemctl stop %[1]s)", p.name, at.Host, errors.Unwrap(err)))
			continue
		}
		listener.Close()
	}
	return errors.Join(errs...)
}
