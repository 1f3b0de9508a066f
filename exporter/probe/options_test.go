// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
)

// configured is the probe window as a configuration file sets its options.
func configured(t *testing.T, collectors string) (*Definition, error) {
	t.Helper()
	c, err := config.Parse("tcpslo.yml", []byte("collectors: "+collectors), []string{"window", "listen"})
	if err != nil {
		t.Fatal(err)
	}
	d := builtIn(t, "window")
	return d, d.Configure(c.Collectors["window"].Options)
}

func builtIn(t *testing.T, name string) *Definition {
	t.Helper()
	for _, p := range bpf.Probes() {
		if p.Name == name {
			d, err := ReadDefinition(p.File, p.YAML)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatalf("no probe %q", name)
	return nil
}

func TestOption_is_written_into_the_object_before_it_is_loaded(t *testing.T) {
	for collectors, want := range map[string]uint64{"{}": 4096, "{window: true}": 4096, "{window: {collapse_below: 65536}}": 65536} {
		d, err := configured(t, collectors)
		if err != nil {
			t.Fatal(err)
		}
		object, err := bpf.Object("window")
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		p := &Probe{Definition: d, spec: spec, options: Options{Log: slog.New(slog.DiscardHandler), Environment: metric.Environment{}, Shared: &Shared{}}}
		if err := p.setVariables(); err != nil {
			t.Fatal(err)
		}
		var got uint64
		if err := spec.Variables["collapse_below"].Get(&got); err != nil || got != want {
			t.Errorf("%s: %d (%v), want %d", collectors, got, err, want)
		}
	}
}

func TestOption_is_refused_with_its_place(t *testing.T) {
	for _, test := range []struct{ sentence, collectors, want string }{
		{"one that the collector does not have", "{window: {colapse_below: 1}}", `tcpslo.yml:1:23: collector "window" has no option "colapse_below", did you mean "collapse_below"?`},
		{"a word for a number", "{window: {collapse_below: low}}", `tcpslo.yml:1:39: "collapse_below" must be an integer, got string "low"`},
		{"too small", "{window: {collapse_below: 0}}", `tcpslo.yml:1:39: "collapse_below" must be between 1 and 1073725440, got 0`},
		{"negative", "{window: {collapse_below: -1}}", `tcpslo.yml:1:39: "collapse_below" must be between 1 and 1073725440, got -1`},
		{"too large", "{window: {collapse_below: 1073725441}}", `tcpslo.yml:1:39: "collapse_below" must be between 1 and 1073725440, got 1073725441`},
		{"empty", "{window: {collapse_below: }}", `tcpslo.yml:1:39: "collapse_below" must not be empty`},
		{"two at once", "{window: {a: 1, collapse_below: 0}}", `tcpslo.yml:1:23: collector "window" has no option "a", must be one of "collapse_below"` + "\n" + `tcpslo.yml:1:45: "collapse_below" must be between 1 and 1073725440, got 0`},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			if _, err := configured(t, test.collectors); err == nil || err.Error() != test.want {
				t.Errorf("got\n%v\nwant\n%s", err, test.want)
			}
		})
	}
	t.Run("any, of a collector that has none", func(t *testing.T) {
		c, err := config.Parse("tcpslo.yml", []byte("collectors: {listen: {depth: 3}}"), []string{"listen"})
		if err != nil {
			t.Fatal(err)
		}
		err = builtIn(t, "listen").Configure(c.Collectors["listen"].Options)
		if want := `tcpslo.yml:1:23: collector "listen" has no options, got "depth"`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestDefinition_with_an_option_that_can_not_be_is_refused(t *testing.T) {
	const head = "name: own\nhelp: O.\nprograms: [{name: a, variants: [raw_tp/sched_switch]}]\noptions:\n  "
	for _, test := range []struct{ sentence, option, want string }{
		{"a default that is out of range", "below: {default: 9, min: 10, max: 20, help: H.}", `own.yaml:5:20: "default" must be between "min" 10 and "max" 20, got 9`},
		{"a name that is no variable's", "Below-it: {default: 9, max: 20, help: H.}", `own.yaml:5:3: option name "Below-it" must be lower case letters, digits and underscores`},
		{"no help", "below: {default: 9, max: 20}", `own.yaml:5:10: missing required key "help"`},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			if _, err := ReadDefinition("own.yaml", []byte(head+test.option+"\n")); err == nil || err.Error() != test.want {
				t.Errorf("got\n%v\nwant\n%s", err, test.want)
			}
		})
	}
	t.Run("a variable that the object does not have", func(t *testing.T) {
		yaml := strings.Replace(head, "programs: [{name: a, variants: [raw_tp/sched_switch]}]", "programs: [{name: socket_state, variants: [tp_btf/inet_sock_set_state]}]", 1)
		d, err := ReadDefinition("own.yaml", []byte(yaml+"below: {default: 9, max: 20, help: H.}\n"))
		if err != nil {
			t.Fatal(err)
		}
		object, err := bpf.Object("service")
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		err = (&Probe{Definition: d, spec: spec}).checkObject()
		if want := `own.yaml:5:3: the object has no "const volatile __u64 below"`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
