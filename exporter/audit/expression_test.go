// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"testing"
)

// evaluate compiles an expression about a listener and evaluates it where
// listener.drops and the sysctl fs.none are not known.
func evaluate(t *testing.T, text string) string {
	t.Helper()
	e, p := compile(text, Listener)
	if p != nil {
		t.Fatalf("%s: %v", text, p)
	}
	facts := &Facts{procfs: t.TempDir(), sysctls: map[string]Value{"net.core.somaxconn": NumberOf(4096)}, counters: map[string]Value{}}
	subject := &Subject{Fields: map[string]Value{
		"backlog": NumberOf(16), "address": TextOf("[::]:80"), "loopback": BoolOf(true), "drops": Unknown("hidden"),
	}}
	v := inputs{facts, subject}.eval(e.root)
	if !v.known {
		return "unknown: " + v.reason
	}
	return v.format(e.of)
}

func TestEval_knows_three_values(t *testing.T) {
	const missing = "unknown: hidden"
	for expression, want := range map[string]string{
		"true && listener.drops > 0":                     "unknown: hidden",
		"false && listener.drops > 0":                    "false",
		"listener.drops > 0 && false":                    "false",
		"true || listener.drops > 0":                     "true",
		"listener.drops > 0 || true":                     "true",
		"false || listener.drops > 0":                    missing,
		"listener.drops > 0 || false":                    missing,
		"!(listener.drops > 0)":                          missing,
		"listener.drops == listener.drops":               missing,
		"-listener.drops":                                missing,
		"listener.drops * 0":                             missing,
		"1 / 0":                                          "unknown: division by 0",
		"0 / 0 == 0 || true":                             "true",
		`sysctl["fs.none"] > 0`:                          `unknown: sysctl "fs.none" is not on this kernel or not in this namespace: file does not exist`,
		`netstat["TcpExtNone"] > 0`:                      `unknown: this kernel has no counter "TcpExtNone"`,
		`sysctl["net.core.somaxconn"] / 4096 == 1`:       "true",
		"listener.backlog < 17":                          "true",
		"listener.backlog <= 16":                         "true",
		"listener.backlog >= 17":                         "false",
		"listener.backlog > 15 != false":                 "true",
		"!listener.loopback":                             "false",
		`listener.address == "[::]:80"`:                  "true",
		`listener.address != "[::]:80"`:                  "false",
		"1 + 2 * 3 - 4 / 8":                              "6.5",
		"(1 + 2) * 3":                                    "9",
		"0x403 & 2":                                      "2",
		"7 & 8 == 0":                                     "true", // & binds more strongly than ==, as in Go
		"1_000_000 * 1_000_000":                          "1000000000000",
		"1 / 3":                                          "0.3333",
		"-1.5e3":                                         "-1500",
		"listener.address":                               "[::]:80",
		"true || false && false":                         "true",
		"listener.backlog\n\t< 17 &&\nlistener.loopback": "true",
	} {
		if got := evaluate(t, expression); got != want {
			t.Errorf("%s is %s, want %s", expression, got, want)
		}
	}
}

func TestFix_quotes_what_a_shell_would_obey_and_nothing_reaches_the_terminal_raw(t *testing.T) {
	fix, p := parseTemplate("restart {listener.service} {{x}}", Listener)
	if p != nil {
		t.Fatal(p)
	}
	for name, want := range map[string]string{
		"shop":              "restart shop {x}",
		"shop-1@[::]:80":    "restart shop-1@[::]:80 {x}",
		"a; rm -rf $HOME":   "restart 'a; rm -rf $HOME' {x}",
		"it's":              `restart 'it'\''s' {x}`,
		"":                  "restart '' {x}",
		"a\x1b]0;title\a\n": "restart 'a\uFFFD]0;title\uFFFD\uFFFD' {x}",
	} {
		in := inputs{&Facts{}, &Subject{Fields: map[string]Value{"service": TextOf(name)}}}
		if got := fix.fill(in, shellWord); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
