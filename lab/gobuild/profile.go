// SPDX-License-Identifier: Apache-2.0

package gobuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tcpslo/tcpslo/lab/truth"
)

// profileName is the profile's file in the module that is built.
const profileName = "default.pgo"

// profileLoad keeps the server busy for some ten seconds. The profiler takes 100 samples
// per second of CPU time, and the compiler weighs a call only by the samples in
// the callee itself, not below it: with fewer requests the functions that serve
// one, each a microsecond or less, would be missing.
var profileLoad = truth.Plan{
	Requests:    300_000,
	Concurrency: 8,
	Mix:         truth.Mix{"GET /hello/{name}": 6, "POST /items": 2, "GET /items/{id}": 2, "DELETE /items/{id}": 1, "GET /implicit": 1},
}

// profile takes a CPU profile of the plain build under load. It is taken on the
// host's architecture and serves others as well: it names functions and lines.
func (s Spec) profile(ctx context.Context) ([]byte, error) {
	s.Mode, s.GOARCH = Plain, runtime.GOARCH
	binary, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gobuild-profile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, profileName)
	server, err := truth.Start(ctx, binary, "-cpuprofile", file)
	if err != nil {
		return nil, err
	}
	_, err = truth.Run(ctx, "http://"+server.Listen[0], profileLoad)
	if err := errors.Join(err, server.Stop()); err != nil {
		return nil, fmt.Errorf("running %q under load: %w", binary, err)
	}
	return os.ReadFile(file)
}
