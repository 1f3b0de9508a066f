// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// The ports of the compose file are free: labtest.Main enters a network namespace.
func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// launch starts this command as people do, and returns when it says that all of it runs.
func launch(t *testing.T, state string) (command *exec.Cmd, ended <-chan struct{}) {
	t.Helper()
	command = exec.Command(labtest.Executable(t, "TCPSLO_STACK", "./lab/stack"), "-state="+state)
	command.Dir = root
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if ended, err = child.Start(command, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		<-ended
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "All of it runs.") {
			return command, ended
		}
	}
	t.Fatal("it ended before all of it ran")
	return nil, nil
}

// get decodes what Prometheus answers.
func get(path string, into any) error {
	answer, err := http.Get("http://127.0.0.1:9090" + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body := struct {
		Status string
		Data   any
	}{Data: into}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return err
	}
	if body.Status != "success" {
		return fmt.Errorf("%s: %s", path, body.Status)
	}
	return nil
}

// descendants are the processes that a process has started, and theirs (proc_pid_task(5), children).
func descendants(pid int) (all []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, word := range strings.Fields(string(text)) {
			if below, err := strconv.Atoi(word); err == nil {
				all = append(append(all, below), descendants(below)...)
			}
		}
	}
	return all
}

func TestThe_stack_is_scraped_judged_and_ended_without_a_trace(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.Need(t, "prometheus", "prometheus")
	testenv.Need(t, "prometheus-alertmanager", "prometheus-alertmanager")
	state := t.TempDir()
	command, ended := launch(t, state)
	children := descendants(command.Process.Pid)
	if len(children) != len(roles)-1 { // all but Grafana
		t.Errorf("it has %d processes, want %d", len(children), len(roles)-1)
	}
	wantCapabilities(t, children)
	labtest.EventuallyWithin(t, 90*time.Second, func() error { return errors.Join(wantTargets(), wantRules(), wantShop()) })
	again := exec.Command(command.Path, "-state="+t.TempDir())
	again.Dir = root
	if out, err := again.CombinedOutput(); err == nil || !strings.Contains(string(out), "prometheus cannot listen on 127.0.0.1:9090: ") || !strings.Contains(string(out), "address already in use") {
		t.Errorf("a second one says %q, %v", out, err)
	}

	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-ended
	if code := command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGINT it exits with %d", code)
	}
	for _, pid := range children {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
	wantContentCustomers(t, state)
}

// wantCapabilities compares the rights of the exporter with those of the compose file.
func wantCapabilities(t *testing.T, children []int) {
	t.Helper()
	want := uint64(1)<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYSLOG | 1<<unix.CAP_LEASE
	found := 0
	for _, pid := range children {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "Name:\texporter\n") {
			continue
		}
		found++
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			_, rest, _ := strings.Cut(string(text), set+":\t")
			number, _, _ := strings.Cut(rest, "\n")
			if have, err := strconv.ParseUint(number, 16, 64); err != nil || have != want {
				t.Errorf("%s of the exporter is %x (%v), want %x", set, have, err, want)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d processes are the exporter", found)
	}
}

func wantTargets() error {
	var targets struct {
		ActiveTargets []struct{ ScrapeURL, Health, LastError string }
	}
	var managers struct{ ActiveAlertmanagers []struct{ URL string } }
	if err := errors.Join(get("/api/v1/targets", &targets), get("/api/v1/alertmanagers", &managers)); err != nil {
		return err
	}
	if len(targets.ActiveTargets) != 1 || targets.ActiveTargets[0].Health != "up" {
		return fmt.Errorf("targets are %+v", targets.ActiveTargets)
	}
	if len(managers.ActiveAlertmanagers) != 1 || managers.ActiveAlertmanagers[0].URL != "http://localhost:9093/api/v2/alerts" {
		return fmt.Errorf("alertmanagers are %+v", managers.ActiveAlertmanagers)
	}
	return nil
}

// wantRules wants that no rule has failed and all have been evaluated, but for those whose groups are evaluated every few minutes.
func wantRules() error {
	var rules struct {
		Groups []struct {
			Name     string
			Interval float64
			Rules    []struct{ Name, Health, LastError string }
		}
	}
	if err := get("/api/v1/rules", &rules); err != nil {
		return err
	}
	evaluated := 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Health == "ok" {
				evaluated++
			} else if group.Interval <= 30 || rule.Health != "unknown" {
				return fmt.Errorf("rule %s of %s is %s: %s", rule.Name, group.Name, rule.Health, rule.LastError)
			}
		}
	}
	if evaluated == 0 {
		return fmt.Errorf("no rule of %d groups is evaluated", len(rules.Groups))
	}
	return nil
}

// wantShop wants that requests and objectives of the sample service are in Prometheus.
func wantShop() error {
	for _, expr := range []string{
		`tcpslo_http_request_duration_seconds_count{service="shop",path="/hello/{name}",status_code="200"} > 0`,
		`tcpslo_http_request_stage_seconds_count{service="shop",stage="first_packet"} > 0`,
		`tcpslo_listen_accept_queue_limit{service="shop",listener="127.0.0.1:18080"} == 64`,
		`slo:tcpslo_slo_objective_ratio:max{service="shop",slo="availability"} == 0.999`,
		`slo:tcpslo_slo_burn:ratio_rate1h{service="shop"} >= 0`,
	} {
		var result struct{ Result []any }
		if err := get("/api/v1/query?query="+url.QueryEscape(expr), &result); err != nil {
			return err
		}
		if len(result.Result) == 0 {
			return fmt.Errorf("nothing has %s", expr)
		}
	}
	return nil
}

// wantContentCustomers wants that every request was answered, until the end.
func wantContentCustomers(t *testing.T, state string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(state, "customers.log"))
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]int
	if err := json.Unmarshal(text, &answers); err != nil || answers["200"] == 0 || answers["error"] != 0 {
		t.Errorf("customers say %s, %v", text, err)
	}
}

func TestA_program_that_ends_by_itself_is_told_with_the_end_of_its_log(t *testing.T) {
	script := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho starting; echo no disk left >&2; exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	_, err = start(t.Context(), program{role: role{name: "shop", page: "http://" + listener.Addr().String()}, path: script}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "shop ended by itself: exit status 3; its log ") || !strings.HasSuffix(err.Error(), "shop.log ends with\nstarting\nno disk left") {
		t.Errorf("got %v", err)
	}
}
