// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// compose is as much of a compose file as ours has; anything else is refused.
type compose struct {
	Name     string              `yaml:"name"`
	Services map[string]service  `yaml:"services"`
	Volumes  map[string]struct{} `yaml:"volumes"`
}

type service struct {
	Image       string            `yaml:"image"`
	Build       build             `yaml:"build"`
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	PID         string            `yaml:"pid"`
	CGroup      string            `yaml:"cgroup"`
	NetworkMode string            `yaml:"network_mode"`
	CapDrop     []string          `yaml:"cap_drop"`
	CapAdd      []string          `yaml:"cap_add"`
	SecurityOpt []string          `yaml:"security_opt"`
	ReadOnly    bool              `yaml:"read_only"`
	ULimits     map[string]int    `yaml:"ulimits"`
	Volumes     []mount           `yaml:"volumes"`
	DependsOn   []string          `yaml:"depends_on"`
	Restart     string            `yaml:"restart"`
}

type build struct {
	Context    string `yaml:"context"`
	Dockerfile string `yaml:"dockerfile"`
	Target     string `yaml:"target"`
}

// mount is SOURCE:TARGET[:ro]. A source without a slash is a named volume.
type mount struct {
	source, target string
	readOnly       bool
}

func (m *mount) UnmarshalYAML(node *yaml.Node) error {
	parts := strings.Split(node.Value, ":")
	if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "ro" {
		return fmt.Errorf("line %d: volume %q is not SOURCE:TARGET or SOURCE:TARGET:ro", node.Line, node.Value)
	}
	*m = mount{parts[0], parts[1], len(parts) == 3}
	return nil
}

// named tells whether what is mounted is a volume and no path of the host.
func (m mount) named() bool { return !strings.Contains(m.source, "/") }

// readCompose reads a compose file. A variable has the value of the environment or, if that is empty, its default, without which
// it is refused.
func readCompose(path string) (*compose, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err = interpolate(text, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	strict := yaml.NewDecoder(bytes.NewReader(text))
	strict.KnownFields(true)
	var c compose
	if err := strict.Decode(&c); err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return &c, nil
}

var variable = regexp.MustCompile(`\$\{(\w+)(:-([^}]*))?\}|\$`)

// interpolate replaces ${NAME:-DEFAULT}.
func interpolate(text []byte, get func(string) string) ([]byte, error) {
	var wrong error
	text = variable.ReplaceAllFunc(text, func(found []byte) []byte {
		parts := variable.FindSubmatch(found)
		if len(parts[2]) == 0 {
			wrong = fmt.Errorf("%q is not ${NAME:-DEFAULT}", found)
		}
		if value := get(string(parts[1])); value != "" {
			return []byte(value)
		}
		return parts[3]
	})
	return text, wrong
}
