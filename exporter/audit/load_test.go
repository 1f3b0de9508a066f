// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// rule is a file with one rule that is good but for what a test replaces.
func rule(replacements ...string) string {
	text := `rules:
  - id: mine
    severity: warning
    for: listener
    when: listener.backlog < 16
    what: a
    why: b
    fix: c
`
	return strings.NewReplacer(replacements...).Replace(text)
}

func loadOne(text string) error {
	_, err := Load([]File{{"own.yaml", []byte(text)}})
	return err
}

func TestLoad_reads_the_built_in_rules(t *testing.T) {
	rules, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) < 25 {
		t.Errorf("%d rules", len(rules))
	}
	for _, r := range rules {
		if r.Link != Reference+"#"+r.ID {
			t.Errorf("%s links to %q", r.ID, r.Link)
		}
		for _, text := range []string{r.What, r.Why, r.Fix} {
			if strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\n") {
				t.Errorf("%s has a text that is empty or has lines: %q", r.ID, text)
			}
		}
	}
}

func TestLoad_refuses_a_rule_with_its_place(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"nothing", "", `own.yaml:1:1: missing required key "rules"`},
		{"an unknown key", rule("why: b", "why: b\n    wyh: b"), `own.yaml:8:5: unknown key "wyh", did you mean "why"?`},
		{"no id", rule("id: mine", `id: ""`), `own.yaml:2:9: the id of a rule must not be empty`},
		{"a bad id", rule("mine", "My_rule"), `own.yaml:2:9: id "My_rule" must be lower case words with hyphens between them`},
		{"an unknown severity", rule("warning", "waring"), `own.yaml:3:15: "severity": unknown severity "waring", did you mean "warning"?`},
		{"an unknown subject", rule("for: listener", "for: listner"), `own.yaml:4:10: "for": unknown subject "listner", did you mean "listener"?`},
		{"no condition", rule("when: listener.backlog < 16", "when:"), `own.yaml:2:5: missing required key "when"`},
		{"an unknown field", rule("backlog", "backlgo"), `own.yaml:5:20: "when": unknown field "backlgo" of "listener", did you mean "backlog"?`},
		{"an unknown name", rule("listener.backlog", "lisener.backlog"), `own.yaml:5:11: "when": unknown name "lisener", did you mean "listener"?`},
		{"the field of another subject", rule("listener.backlog", "server.idle_timeout"), `own.yaml:5:11: "when": "server" is of no use in a rule for "listener": write "for: server"`},
		{"no field at all", rule("listener.backlog", "listener"), `own.yaml:5:11: "when": "listener" needs a field behind it, such as listener.address`},
		{"a field of a field", rule("listener.backlog", "listener.backlog.max"), `own.yaml:5:11: "when": a field must be written as NAME.FIELD`},
		{"the brackets of a list", rule("listener.backlog", "listener.backlog[0]"), `own.yaml:5:11: "when": only sysctl[…] and netstat[…] have brackets`},
		{"a sysctl without quotes", rule("listener.backlog", "sysctl[net.core.somaxconn]"), `own.yaml:5:18: "when": what is in the brackets must be a text, such as sysctl["net.core.somaxconn"]`},
		{"a sysctl with a dot", rule("listener.backlog", "sysctl.somaxconn"), `own.yaml:5:11: "when": "sysctl" needs a field behind it, such as sysctl["net.core.somaxconn"]`},
		{"a sysctl that is a path", rule("listener.backlog", `sysctl["../../etc/passwd"]`), `own.yaml:5:18: "when": "../../etc/passwd" is no name of a sysctl`},
		{"a counter with a dot", rule("listener.backlog", `netstat["TcpExt.ListenDrops"]`), `own.yaml:5:19: "when": "TcpExt.ListenDrops" is no name of a counter`},
		{"a number as a condition", rule(" < 16", ""), `own.yaml:5:11: "when": must be a condition, got a number`},
		{"a text that is compared with a number", rule("listener.backlog", "listener.address"), `own.yaml:5:11: "when": operator "<" takes a number, got a text`},
		{"a number that is compared with a text", rule("16", `"16"`), `own.yaml:5:30: "when": operator "<" takes a number here, got a text`},
		{"a number as a truth", rule("< 16", "< 16 && listener.queue"), `own.yaml:5:36: "when": operator "&&" takes what is true or false here, got a number`},
		{"a negated number", rule("listener.backlog", "(!listener.backlog)"), `own.yaml:5:13: "when": operator "!" takes what is true or false, got a number`},
		{"a tag", rule("listener.backlog", "!listener.backlog"), `own.yaml:5:11: unsupported tag "!listener.backlog"`},
		{"half an expression", rule("< 16", "<"), `own.yaml:5:29: "when": not an expression: expected operand, found 'EOF'`},
		{"two expressions", rule("< 16", "< 16 17"), `own.yaml:5:33: "when": not an expression: expected 'EOF', found 17`},
		{"a call", rule("< 16", "< len(listener.address)"), `own.yaml:5:30: "when": only fields, literals, operators and parentheses can be in an expression`},
		{"a function", rule("listener.backlog", "func() { for {} }()"), `own.yaml:5:11: "when": only fields, literals`},
		{"another operator", rule("<", "<<"), `own.yaml:5:28: "when": unknown operator "<<"`},
		{"a number without measure", rule("16", "1e400"), `own.yaml:5:30: "when": 1e400 is not a number of 64 bits`},
		{"a character", rule("16", "'a'"), `own.yaml:5:30: "when": a literal must be a number or a text, got 'a'`},
		{"an expression that is too long", rule("16", strings.Repeat("(", 3000)+"16"+strings.Repeat(")", 3000)), `own.yaml:5:11: "when": expression is longer than 4096 bytes`},
		{"in a single-quoted text", rule("listener.backlog < 16", `'listener.backlog < 16 && listener.port == port'`), `own.yaml:5:54: "when": unknown name "port", did you mean "listener.port"?`},
		{"in a double-quoted text", rule("listener.backlog < 16", `"listener.address == \"a\" && x"`), `own.yaml:5:41: "when": unknown name "x"`},
		{"in a folded text", rule("listener.backlog < 16", ">-\n      listener.backlog < 16 &&\n      listener.address < 3"), `own.yaml:7:7: "when": operator "<" takes a number, got a text`},
		{"in a literal text", rule("listener.backlog < 16", "| # two lines\n      listener.backlog < 16 &&\n        listener.prot < 3\n"), `own.yaml:7:18: "when": unknown field "prot" of "listener", did you mean "port"?`},
		{"in a plain text of two lines", rule("listener.backlog < 16", "listener.backlog < 16\n      || listener.prot < 3"), `own.yaml:6:19: "when": unknown field "prot" of "listener"`},
		{"behind letters of two bytes", rule("what: a", "what: Größe {listener.groesse}"), `own.yaml:6:27: "what": unknown field "groesse" of "listener"`},
		{"a brace that stays open", rule("what: a", "what: a {listener.port"), `own.yaml:6:13: "what": a { without a }; write {{ for the character itself`},
		{"a brace that closes nothing", rule("fix: c", "fix: c }"), `own.yaml:8:12: "fix": a } without a {; write }} for the character itself`},
		{"nothing in braces", rule("fix: c", "fix: c {}"), `own.yaml:8:13: "fix": not an expression`},
		{"the id of a built-in rule", rule("mine", "abort-on-overflow"), `own.yaml:2:9: duplicate rule "abort-on-overflow", it is in exporter/audit/rules.yaml too; "replace: true" takes the place of that one`},
		{"a replacement of nothing", rule("mine", "abort-on-overflw\n    replace: true"), `own.yaml:3:14: there is no rule "abort-on-overflw" to replace, did you mean "abort-on-overflow"?`},
		{"an id twice in a file", rule() + strings.TrimPrefix(rule(), "rules:\n"), `own.yaml:9:9: duplicate rule "mine", it is in own.yaml too`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := loadOne(c.yaml)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s\nof\n%s", err, c.want, c.yaml)
			}
		})
	}
}

func TestLoad_tells_all_that_is_wrong_in_the_order_of_the_files(t *testing.T) {
	_, err := Load([]File{
		{"a.yaml", []byte(rule("backlog", "backlgo", "severity: warning", "severity: bad", "fix: c", "fix: {x: y}"))},
		{"b.yaml", []byte(rule("mine", "Yours"))},
	})
	var places []string
	for line := range strings.Lines(fmt.Sprint(err)) {
		place, _, _ := strings.Cut(line, ": ")
		places = append(places, place)
	}
	if got := strings.Join(places, " "); got != "a.yaml:3:15 a.yaml:5:20 a.yaml:8:10 b.yaml:2:9" {
		t.Errorf("got %s in\n%v", got, err)
	}
}

func TestLoad_lets_a_rule_take_the_place_of_another_that_it_names(t *testing.T) {
	rules, err := Load([]File{{"own.yaml", []byte(rule("mine", "abort-on-overflow\n    replace: true"))}})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, r := range rules {
		if r.ID == "abort-on-overflow" {
			found++
			if r.Severity != Warning || r.For != Listener || r.Link != "" {
				t.Errorf("it is %+v", r)
			}
		}
	}
	if found != 1 || len(rules) != len(Builtin()) {
		t.Errorf("%d of it, %d rules, want 1 and %d", found, len(rules), len(Builtin()))
	}
}

func TestDisable_takes_rules_away_and_tells_ids_that_are_none(t *testing.T) {
	var unknown []string
	rules := Disable(Builtin(), []string{"abort-on-overflow", "tw-reuse-of"}, func(i int, suggestion string) {
		unknown = append(unknown, fmt.Sprint(i, suggestion))
	})
	if len(rules) != len(Builtin())-1 || strings.Join(ids(rules), " ") != strings.Replace(strings.Join(ids(Builtin()), " "), " abort-on-overflow", "", 1) {
		t.Errorf("left are %v", ids(rules))
	}
	if got := strings.Join(unknown, ";"); got != `1, did you mean "tw-reuse-off"?` {
		t.Errorf("unknown are %q", got)
	}
}

// lineBreak is a line break as YAML 1.1 has it.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// FuzzLoad holds that any file is either refused with a place in it, or a set of
// rules that can be judged.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(rule()))
	f.Add([]byte(rule("listener.backlog < 16", `'sysctl["net.ipv4.tcp_rmem[2]"] / 0 == -1.5e3 || !("a" != listener.address)'`)))
	f.Add([]byte(rule("what: a", `what: "{{ {listener.built_by_go} {1 / 3} }}"`)))
	f.Add([]byte(rule("listener.backlog < 16", ">-\n      listener.backlog & 0x400 == 0\n")))
	f.Add([]byte(rule("16", "1_000 + 0x1p-2 + 1e999999999")))
	f.Add(builtin)
	facts := &Facts{
		Host:     Subject{Fields: allUnknown(Host, "not looked at")},
		Subjects: map[Kind][]Subject{},
		sysctls:  map[string]Value{}, procfs: f.TempDir(),
	}
	for _, kind := range Kinds[1:] {
		facts.Subjects[kind] = []Subject{{Fields: allUnknown(kind, "not looked at")}, {Fields: map[string]Value{}}}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := lineBreak.Split(string(text), -1)
		rules, problems := load(nil, File{"own.yaml", text}, map[string]string{})
		if problems == nil {
			report := Judge(rules, facts)
			if n := len(report.Findings) + len(report.NotJudged) + len(report.Passed); n < len(rules) {
				t.Errorf("%d outcomes of %d rules", n, len(rules))
			}
			return
		}
		for problem := range strings.Lines(problems.Error()) {
			var line, column int
			if n, err := fmt.Sscanf(problem, "own.yaml:%d:%d: ", &line, &column); n == 2 && err == nil && (line < 1 || line > len(lines)+1 || column < 1) {
				t.Errorf("%q of a file with %d lines", problem, len(lines))
			}
		}
	})
}
