// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const auditFinding = "tcpslo_audit_finding"

// auditReport is what "audit -o json" prints.
type auditReport struct {
	Findings  []auditFindingJSON `json:"findings"`
	NotJudged []struct {
		Rule, Subject, Reason string
	} `json:"not_judged"`
	Passed []string `json:"passed"`
}

type auditFindingJSON struct {
	Rule, Severity, Service, Listener, What, Why, Fix, Link string
}

func readReport(t *testing.T, r labtest.Result) auditReport {
	t.Helper()
	var report auditReport
	if err := json.Unmarshal([]byte(r.Output), &report); err != nil {
		t.Fatalf("exit code %d, %v in\n%s", r.ExitCode, err, r.Output)
	}
	return report
}

func (r auditReport) finding(rule, listener string) (auditFindingJSON, bool) {
	i := slices.IndexFunc(r.Findings, func(f auditFindingJSON) bool { return f.Rule == rule && f.Listener == listener })
	if i < 0 {
		return auditFindingJSON{}, false
	}
	return r.Findings[i], true
}

func (r auditReport) notJudged(rule string) (reason string) {
	for _, n := range r.NotJudged {
		if n.Rule == rule {
			return n.Reason
		}
	}
	return ""
}

// auditFile writes a file that nobody may read, too.
func auditFile(t *testing.T, name, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAudit_without_any_privilege_finds_a_small_backlog_and_says_what_it_could_not_judge(t *testing.T) {
	testenv.NeedRoot(t) // to become nobody
	small := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 16}).Addr.String()
	large := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 4096}).Addr.String()
	labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 300}) // whose, only root may know
	r := labtest.RunExporterAsNobody(t, "audit", "-o", "json")
	report := readReport(t, r)
	if r.ExitCode != 1 {
		t.Errorf("exit code %d, want 1: the finding is a warning", r.ExitCode)
	}
	f, found := report.finding("listener-backlog-small", small)
	if want := small + " queues at most 16 + 1 connections, net.core.somaxconn allows 4096"; f.What != want || f.Severity != "warning" || f.Why == "" || f.Fix == "" || !strings.HasSuffix(f.Link, "#listener-backlog-small") {
		t.Errorf("found %v %+v, want %q", found, f, want)
	}
	if f, found := report.finding("listener-backlog-small", large); found {
		t.Errorf("found %+v", f)
	}
	for rule, want := range map[string]string{
		"listener-older-than-somaxconn":      "run as root",
		"nofile-nearly-reached":              "run as root",
		"server-without-read-header-timeout": "--exporter=http://localhost:10984",
	} {
		if got := report.notJudged(rule); !strings.Contains(got, want) {
			t.Errorf("%s is not judged because of %q, want %q in it", rule, got, want)
		}
	}
	if !slices.Contains(report.Passed, "abort-on-overflow") {
		t.Errorf("passed are %v, want abort-on-overflow among them", report.Passed)
	}
	text := labtest.RunExporterAsNobody(t, "audit")
	for _, want := range []string{"SEVERITY", "warning   listener-backlog-small", f.What, "fix  " + f.Fix, "NOT JUDGED", "run as root"} {
		if !strings.Contains(text.Output, want) {
			t.Errorf("%q is not in\n%s", want, text.Output)
		}
	}
	if strings.Contains(text.Output, "\x1b") {
		t.Errorf("colours in a pipe: %q", text.Output)
	}
}

func TestAudit_exits_with_1_for_findings_2_if_it_could_not_audit_and_0_otherwise(t *testing.T) {
	testenv.NeedRoot(t)
	labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 16})
	always := auditFile(t, "always.yaml", `rules:
  - {id: always, severity: info, for: host, when: host.listeners > 0, what: there are listeners, why: because, fix: none}
`)
	wrong := auditFile(t, "wrong.yaml", strings.Replace(ruleAboutListeners, "listener.backlog >=", "listener.backlgo >=", 1))
	broken := auditFile(t, "broken.yml", "collectors: {audit: {disable: [listener-mptpc]}}\n")
	own := auditFile(t, "own.yml", "collectors: {audit: {rules: [\""+always+"\"]}}\n")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"a warning", nil, 1, "listener-backlog-small"},
		{"a warning, and only critical ones count", []string{"--fail-on=critical"}, 0, "listener-backlog-small"},
		{"a rule of the user's own, milder than what counts", []string{"--fail-on=critical", "--rules=" + always}, 0, "there are listeners"},
		{"a rule that the configuration names", []string{"--fail-on=info", "--config.file=" + own}, 1, "there are listeners"},
		{"a rule with a field that is none", []string{"--rules=" + wrong}, 2, wrong + `:5:20: "when": unknown field "backlgo" of "listener", did you mean "backlog"?`},
		{"a file of rules that is not there", []string{"--rules=none.yaml"}, 2, `files of rules "none.yaml": no such file`},
		{"a configuration that disables a rule that is none", []string{"--config.file=" + broken}, 2, broken + `:1:32: there is no rule "listener-mptpc" to disable, did you mean "listener-mptcp"?`},
		{"an exporter that is not there", []string{"--exporter=http://127.0.0.1:1"}, 2, "ask the exporter: "},
		{"a severity that is none", []string{"--fail-on=fatal"}, 2, "must be one of info,warning,critical, got fatal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := labtest.RunExporter(t, append([]string{"audit"}, c.args...)...)
			if output := strings.ReplaceAll(r.Output, `'`, ""); r.ExitCode != c.code || !strings.Contains(output, c.want) {
				t.Errorf("exit code %d, want %d, and %q in\n%s", r.ExitCode, c.code, c.want, r.Output)
			}
		})
	}
	t.Run("check-config tells the same", func(t *testing.T) {
		if r := labtest.RunExporter(t, "check-config", broken); r.ExitCode != 1 || !strings.Contains(r.Output, broken+":1:32: there is no rule") {
			t.Errorf("exit code %d\n%s", r.ExitCode, r.Output)
		}
	})
}

// ruleAboutListeners prints every listener.
const ruleAboutListeners = `rules:
  - id: all-listeners
    severity: info
    for: listener
    when: listener.backlog >= 0
    what: "{listener.backlog} {listener.queue} {listener.mptcp} {listener.loopback} {listener.built_by_go} {listener.service}"
    why: because
    fix: none
`

func TestAudit_sees_listeners_as_they_are(t *testing.T) {
	testenv.NeedRoot(t)
	all := auditFile(t, "all.yaml", ruleAboutListeners)
	one := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 7})
	six := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "[::]:0", Backlog: 300})
	multipath := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 40, MPTCP: true})
	labtest.DialMany(t, nil, one.Addr, 3, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, one.Addr, 3)
	report := readReport(t, labtest.RunExporter(t, "audit", "--rules="+all, "-o", "json"))
	for listener, want := range map[string]string{
		one.Addr.String():       "7 3 false true true " + self(t),
		six.Addr.String():       "300 0 false false true " + self(t),
		multipath.Addr.String(): "40 0 true true true " + self(t),
	} {
		if f, _ := report.finding("all-listeners", listener); f.What != want || f.Service != self(t) {
			t.Errorf("%s is %q of %q, want %q", listener, f.What, f.Service, want)
		}
	}
	if _, found := report.finding("listener-mptcp", multipath.Addr.String()); !found {
		t.Error("no finding about the MPTCP listener")
	}
	if _, found := report.finding("listener-older-than-somaxconn", six.Addr.String()); !found {
		t.Error("no finding about a Go program with less than net.core.somaxconn")
	}
}

func TestAudit_judges_live_http_Servers_by_a_running_exporter(t *testing.T) {
	testenv.NeedRoot(t)
	hurried := []string{"-read-timeout=30s", "-read-header-timeout=5s", "-write-timeout=30s", "-idle-timeout=2m"}
	ex := labtest.StartExporter(t, labtest.Options{Config: `collectors: {audit: {interval: 0s}}
services:
  - {name: hurried, match: {command_line: "read-header-timeout"}}
  - {name: patient, match: {command_line: "-backlog=20"}}
`})
	// What a server is like is known from its first request on.
	for _, s := range []*labtest.Server{labtest.StartServer(t, labtest.ServerOptions{Flags: hurried}), labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-backlog=20"}})} {
		ex.WaitListener(s.Listen[0])
		labtest.Eventually(t, func() error {
			response, err := http.Get("http://" + s.Listen[0] + "/")
			if err != nil {
				return err
			}
			response.Body.Close()
			if len(ex.Scrape().Series("tcpslo_http_server_timeout_seconds", nil)) == 0 {
				return errors.New("the exporter knows no http.Server")
			}
			return nil
		})
	}
	rules := []string{"server-without-read-header-timeout", "server-without-idle-timeout", "server-without-write-timeout"}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		for _, rule := range rules {
			errs = append(errs,
				same(rule+" of patient", x.Value(auditFinding, labtest.Labels{"rule": rule, "service": "patient"}), 1),
				same("series of "+rule+" of hurried", len(x.Series(auditFinding, labtest.Labels{"rule": rule, "service": "hurried"})), 0))
		}
		return errors.Join(append(errs,
			same("listener-backlog-small", x.Value(auditFinding, labtest.Labels{"rule": "listener-backlog-small", "service": "patient", "severity": "warning", "netns": ""}), 1))...)
	})
	for name, audit := range map[string]func(testing.TB, ...string) labtest.Result{"root": labtest.RunExporter, "nobody": labtest.RunExporterAsNobody} {
		t.Run("asked by "+name, func(t *testing.T) {
			report := readReport(t, audit(t, "audit", "-o", "json", "--exporter="+ex.URL))
			var found []string
			for _, f := range report.Findings {
				if strings.HasPrefix(f.Rule, "server-") && (f.Service == "patient" || f.Service == "hurried") {
					found = append(found, f.Service+" "+f.Rule)
				}
			}
			slices.Sort(found)
			want := []string{"patient server-without-idle-timeout", "patient server-without-read-header-timeout", "patient server-without-write-timeout"}
			if !slices.Equal(found, want) {
				t.Errorf("found %v, want %v in\n%+v", found, want, report)
			}
			for _, rule := range rules {
				if reason := report.notJudged(rule); reason != "" {
					t.Errorf("%s is not judged: %s", rule, reason)
				}
			}
		})
	}
}

func TestSysctls_are_those_of_the_exporters_namespace(t *testing.T) {
	ex := start(t)
	x := ex.Scrape()
	for name, file := range map[string]string{
		"net.core.somaxconn":                 "net/core/somaxconn",
		"net.ipv4.tcp_fin_timeout":           "net/ipv4/tcp_fin_timeout",
		"net.ipv4.ip_local_port_range[1]":    "net/ipv4/ip_local_port_range",
		"net.ipv4.tcp_rmem[2]":               "net/ipv4/tcp_rmem",
		"net.ipv4.tcp_max_tw_buckets":        "net/ipv4/tcp_max_tw_buckets",
		"net.ipv4.tcp_notsent_lowat":         "net/ipv4/tcp_notsent_lowat",
		"net.ipv4.tcp_slow_start_after_idle": "net/ipv4/tcp_slow_start_after_idle",
	} {
		text, err := os.ReadFile("/proc/sys/" + file)
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(text))
		if got := fmt.Sprintf("%.0f", x.Value("tcpslo_sysctl", labtest.Labels{"name": name})); got != fields[len(fields)-1] {
			t.Errorf("%s is %s, want %s", name, got, fields[len(fields)-1])
		}
	}
	if n := len(x.Series("tcpslo_sysctl", labtest.Labels{"name": "net.core.netdev_max_backlog"})); n != 0 {
		t.Error("net.core.netdev_max_backlog is there, which only the first network namespace has")
	}
}
