// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// serverLimit is how long lab/server may take to listen.
const serverLimit = 10 * time.Second

// Server is a running lab/server.
type Server struct {
	*Process
	Listen []string // the address of each -listen flag: HOST:PORT or unix:PATH
}

// StartServer starts a build of lab/server and returns when it has said that it
// listens, which must be within 10 s. It is told to end when ctx does.
func StartServer(ctx context.Context, path string, args ...string) (*Server, error) {
	p := newProcess(ctx, path, args...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	addresses, err := p.listens(stdout, serverLimit)
	if err != nil {
		return nil, p.fail(err)
	}
	return &Server{p, addresses}, nil
}

// listens reads the line that lab/server prints when it listens. After the limit
// the process is told to end, so that nothing more is to be read.
func (p *Process) listens(stdout io.Reader, limit time.Duration) ([]string, error) {
	late := time.AfterFunc(limit, p.end)
	var ready struct{ Listen []string }
	err := json.NewDecoder(stdout).Decode(&ready)
	if !late.Stop() {
		return nil, fmt.Errorf("it did not say within %s that it listens", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read where it listens: %w", err)
	}
	return ready.Listen, nil
}
