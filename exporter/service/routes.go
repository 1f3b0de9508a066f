// SPDX-License-Identifier: Apache-2.0

package service

import (
	"sort"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/route"
)

// Route names the route of a request: Request.Pattern if the router filled it;
// else a template of the service's routes in tcpslo.yml, or a pattern that
// another request of the service showed, that matches the path; else the shape
// of the path. Distinct routes of a service are bounded.
func (r *Registry) Route(serviceName, method, path string, source metric.RouteSource) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	admitted, _ := r.paths.Admit(serviceName, r.template(serviceName, method, path, source))
	return admitted
}

func (r *Registry) template(serviceName, method, path string, source metric.RouteSource) string {
	s := r.serviceNamed(serviceName)
	switch source {
	case metric.RoutePattern:
		_, template := route.Split(path)
		s.learn(r, template)
		return template
	case metric.RouteRaw:
		for _, c := range r.config.Services {
			if c.Name != serviceName {
				continue
			}
			if template, ok := c.Route(method, path); ok {
				return template
			}
		}
		if s.templates != nil {
			if template, ok := s.templates.Match(method, path); ok {
				return template
			}
		}
		return route.Shape(path)
	}
	return route.Other
}

// learn keeps a pattern as a template for requests that show none: those from
// before the router was followed, and those that the router refused. Patterns
// for a whole subtree would claim too much.
func (s *service) learn(r *Registry, template string) {
	if s.learned[template] || len(s.learned) >= r.config.Limits.PathsPerService ||
		!strings.HasPrefix(template, "/") || strings.HasSuffix(template, "/") || strings.HasSuffix(template, "...}") {
		return
	}
	s.learned[template] = true
	all := make([]string, 0, len(s.learned))
	for known := range s.learned {
		all = append(all, known)
	}
	sort.Strings(all)
	if set, err := route.Compile(all); err == nil {
		s.templates = set
		r.newGeneration()
	}
}

// reserve keeps places for the paths that objectives of a service are about, so that
// they don't come too late to have a series of their own.
func (r *Registry) reserve(serviceName string) {
	for _, path := range r.config.ServiceNamed(serviceName).SLOPaths() {
		r.paths.Admit(serviceName, path)
	}
}

func (r *Registry) reserveAll() {
	for _, s := range r.config.Services {
		r.reserve(s.Name)
	}
}
