// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// misspelt is refused at line 3, column 1.
const misspelt = `limits:
  slow_requests: 100
servces:
  - name: checkout
`

func TestUnknown_key_in_the_configuration_ends_the_program(t *testing.T) {
	testenv.NeedRoot(t)
	file := filepath.Join(t.TempDir(), "tcpslo.yml")
	if err := os.WriteFile(file, []byte(misspelt), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"check-config": {"check-config", file},
		"run":          {"run", "--web.listen-address=127.0.0.1:0", "--config.file=" + file},
	} {
		t.Run(name+" exits with 1 and names file, line, column and the nearest key", func(t *testing.T) {
			r := labtest.RunExporter(t, args...)
			if r.ExitCode != 1 {
				t.Errorf("exit code %d, want 1", r.ExitCode)
			}
			// A structured log line quotes the message, and so its quotes.
			output := strings.ReplaceAll(r.Output, `\"`, `"`)
			for _, want := range []string{file + ":3:1:", `"servces"`, `did you mean "services"`} {
				if !strings.Contains(output, want) {
					t.Errorf("%q is not in the output:\n%s", want, r.Output)
				}
			}
		})
	}
}

func TestCheck_config_accepts_a_good_file(t *testing.T) {
	testenv.NeedRoot(t)
	file := filepath.Join(t.TempDir(), "tcpslo.yml")
	if err := os.WriteFile(file, []byte(nameServices(t, "checkout")), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := labtest.RunExporter(t, "check-config", file); r.ExitCode != 0 {
		t.Errorf("exit code %d, want 0:\n%s", r.ExitCode, r.Output)
	}
}

func TestReload_is_all_or_nothing(t *testing.T) {
	testenv.NeedRoot(t)
	for _, how := range []string{"SIGHUP", "POST /-/reload"} {
		t.Run("by "+how, func(t *testing.T) {
			ex := labtest.StartExporter(t, labtest.Options{
				Config: nameServices(t, "before"),
				Flags:  []string{"--web.enable-lifecycle"},
			})
			reload := func(wantStatus int) {
				t.Helper()
				if how == "SIGHUP" {
					ex.Reload()
					return
				}
				if status, body := ex.Post("/-/reload"); status != wantStatus {
					t.Errorf("answered %d %q, want %d", status, body, wantStatus)
				}
			}
			l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 5})
			namedAre := func(service string, successful float64) {
				t.Helper()
				labtest.Settles(t, func() error {
					x := ex.Scrape()
					var have []string
					for _, s := range x.Series(queueLimit, at(l.Addr)) {
						have = append(have, s.Labels["service"])
					}
					return errors.Join(
						same("service names of the listener", fmt.Sprint(have), "["+service+"]"),
						same("series of the reload's success", len(x.Series("tcpslo_config_last_reload_successful", nil)), 1),
						same("reload's success", x.Value("tcpslo_config_last_reload_successful", nil), successful),
					)
				})
			}
			namedAre("before", 1)
			ex.WriteConfig(nameServices(t, "refused") + "servces: []\n")
			reload(http.StatusInternalServerError)
			namedAre("before", 0)
			if log := strings.ReplaceAll(ex.Log(), `\"`, `"`); !strings.Contains(log, ex.ConfigFile+":4:1:") || !strings.Contains(log, `"servces"`) {
				t.Errorf("the log does not say where the file is wrong:\n%s", log)
			}
			ex.WriteConfig(nameServices(t, "after"))
			reload(http.StatusOK)
			namedAre("after", 1)
		})
	}
}

func TestReload_over_HTTP_is_off_by_default(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: nameServices(t, "before")})
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	ex.WriteConfig(nameServices(t, "after"))
	if status, body := ex.Post("/-/reload"); status < 400 || status >= 500 {
		t.Errorf("POST /-/reload answered %d %q, want a refusal", status, body)
	}
	labtest.Settles(t, func() error {
		return same("series under the old name", len(ex.Scrape().Series(queueLimit, at(l.Addr).With("service", "before"))), 1)
	})
}

// nameServices is a configuration of three lines that gives the test process's
// listeners a service name.
func nameServices(t *testing.T, name string) string {
	return fmt.Sprintf("services:\n  - name: %s\n    match: {executable: \"*/%s\"}\n", name, self(t))
}
