// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// monitoringLimit is how long Prometheus and Alertmanager may take to be ready.
const monitoringLimit = 30 * time.Second

// Prometheus is a running Prometheus.
type Prometheus struct {
	*Process
	Address string // HOST:PORT, of loopback
}

// StartPrometheus starts the Prometheus of the path with a configuration file and a folder for its
// data on a free port, and returns when it is ready to answer queries, which must be within 30 s. It is
// told to end when ctx does.
func StartPrometheus(ctx context.Context, path, config, data string, flags ...string) (*Prometheus, error) {
	p, address, err := startMonitoring(ctx, path, append([]string{"--config.file=" + config, "--storage.tsdb.path=" + data, "--log.level=warn"}, flags...))
	return &Prometheus{p, address}, err
}

// Alertmanager is a running Alertmanager.
type Alertmanager struct {
	*Process
	Address string // HOST:PORT, of loopback
}

// Inhibited tells of each alert that the Alertmanager knows, by a name for its labels, whether another
// one keeps it back.
func (a *Alertmanager) Inhibited(name func(labels map[string]string) string) (map[string]bool, error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + a.Address + "/api/v2/alerts")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var alerts []struct {
		Labels map[string]string
		Status struct{ InhibitedBy []string }
	}
	if err := json.NewDecoder(response.Body).Decode(&alerts); err != nil {
		return nil, fmt.Errorf("read the alerts of Alertmanager: %w", err)
	}
	all := map[string]bool{}
	for _, alert := range alerts {
		all[name(alert.Labels)] = len(alert.Status.InhibitedBy) > 0
	}
	return all, nil
}

// StartAlertmanager is StartPrometheus for an Alertmanager that is the only one of its cluster.
func StartAlertmanager(ctx context.Context, path, config, data string) (*Alertmanager, error) {
	p, address, err := startMonitoring(ctx, path, []string{"--config.file=" + config, "--storage.path=" + data, "--cluster.listen-address=", "--log.level=warn"})
	return &Alertmanager{p, address}, err
}

func startMonitoring(ctx context.Context, path string, args []string) (*Process, string, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, "", err
	}
	p := newProcess(ctx, path, append(args, "--web.listen-address="+address)...)
	if err := p.start(); err != nil {
		return nil, "", err
	}
	if err := p.ready("http://"+address+"/-/ready", monitoringLimit); err != nil {
		return nil, "", p.fail(err)
	}
	return p, address, nil
}

// Query asks for an expression, now unless the parameters say when, and reads the member data of the answer.
// Source: Prometheus, docs/querying/api.md.
func (p *Prometheus) Query(expression string, parameters url.Values, into any) error {
	form := url.Values{"query": {expression}}
	maps.Copy(form, parameters)
	response, err := http.PostForm("http://"+p.Address+"/api/v1/query", form)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("read the answer to %q: %w", expression, err)
	}
	if answer.Error != "" {
		return fmt.Errorf("query %q: %w", expression, errors.New(answer.Error))
	}
	return json.Unmarshal(answer.Data, into)
}
