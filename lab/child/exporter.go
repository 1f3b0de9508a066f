// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// exporterLimit is how long the exporter may take to attach to everything.
const exporterLimit = 30 * time.Second

// Exporter is a running exporter.
type Exporter struct {
	*Process
	Address string // HOST:PORT, of loopback
}

// StartExporter starts a build of the exporter on a free port and returns when GET
// /readyz answers 200, which must be within 30 s: everything that runs is then
// observed. It is told to end when ctx does.
func StartExporter(ctx context.Context, path string, flags ...string) (*Exporter, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	p := newProcess(ctx, path, append([]string{"run", "--web.listen-address=" + address}, flags...)...)
	if err := p.start(); err != nil {
		return nil, err
	}
	if err := p.ready("http://"+address+"/readyz", exporterLimit); err != nil {
		return nil, p.fail(err)
	}
	return &Exporter{p, address}, nil
}

// ready asks for url until the answer is 200. It leaves no connection behind.
func (p *Process) ready(url string, limit time.Duration) error {
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	late := time.After(limit)
	for {
		response, err := client.Get(url)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		select {
		case <-p.Ended:
			return errors.New("it ended before it was ready")
		case <-late:
			return fmt.Errorf("it was not ready within %s: %w", limit, err)
		case <-time.After(time.Millisecond): // the bench measures how long this takes
		}
	}
}

// FreeAddress is an address of loopback that nothing listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
