// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/lab/child"
)

const manyServices = 10

// start measures how long the exporter takes to attach everything and to take it
// away again, on a machine with ten Go services of different files, each of which
// has to be taken apart.
func start(ctx context.Context, b *bench) (section, error) {
	program, err := os.ReadFile(b.tools.hello)
	if err != nil {
		return section{}, err
	}
	for i := range manyServices {
		path := filepath.Join(b.tools.dir, fmt.Sprintf("%s-%d", helloService, i))
		if err := os.WriteFile(path, program, 0o755); err != nil {
			return section{}, err
		}
		service, err := child.StartServer(ctx, path)
		if err != nil {
			return section{}, err
		}
		defer service.Stop() //nolint:errcheck // measured is what happened before
	}
	var starts, stops []float64
	for range b.rounds {
		e, err := startExporter(ctx, b.tools.exporter)
		if err != nil {
			return section{}, err
		}
		starts = append(starts, e.took.Seconds())
		if err := e.attachedEverywhere(); err != nil {
			e.stop() //nolint:errcheck // the error is the one to tell
			return section{}, err
		}
		took, err := e.stop()
		if err != nil {
			return section{}, err
		}
		stops = append(stops, took.Seconds())
	}
	s := section{title: "Start and stop"}
	t := table{header: []string{"", ">lowest", ">median", ">highest"}}
	for _, row := range []struct {
		what, aim string
		times     []float64
	}{
		{fmt.Sprintf("start of the process until all is attached, %d services", manyServices), "≤ 1 s", starts},
		{"SIGTERM until the process has ended and all is detached", "≤ 100 ms", stops},
	} {
		t.add(row.what, milliseconds(slices.Min(row.times)), milliseconds(median(row.times)), milliseconds(slices.Max(row.times)))
		s.figures = append(s.figures, figure{row.what, milliseconds(median(row.times)), row.aim})
	}
	s.body = t.markdown() + fmt.Sprintf("\n%d starts. The exporter answers once it has attached to everything that runs; what else runs on the machine adds to the time.\n", b.rounds)
	return s, nil
}

// attachedEverywhere checks that the exporter, which has only just begun to answer,
// is attached to each of the services.
func (e *exporter) attachedEverywhere() error {
	response, err := e.client.Get("http://" + e.Address + "/api/v1/services")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var all struct {
		Services []struct {
			Name string
			HTTP struct{ State string }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		return fmt.Errorf("/api/v1/services: %w", err)
	}
	attached := 0
	for _, service := range all.Services {
		if strings.HasPrefix(service.Name, helloService+"-") && service.HTTP.State == "attached" {
			attached++
		}
	}
	if attached != manyServices {
		return fmt.Errorf("the exporter answers, but is attached to %d of %d services", attached, manyServices)
	}
	return nil
}
