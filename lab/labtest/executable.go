// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var builds struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// Executable returns the path of an executable: the value of the environment
// variable env if set, else the package built once for this test process from
// the module that holds the working directory.
func Executable(t testing.TB, env, pkg string) string {
	t.Helper()
	if path := os.Getenv(env); path != "" {
		return path
	}
	path, err := build(pkg)
	if err != nil {
		t.Fatalf("%s is unset and building it failed: %v", env, err)
	}
	return path
}

// build compiles pkg, a path such as "./exporter" below the module's root.
// CGO_ENABLED=0 gives a static binary, which is also what is shipped.
func build(pkg string) (string, error) {
	builds.Lock()
	defer builds.Unlock()
	if path, ok := builds.paths[pkg]; ok {
		return path, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if builds.dir == "" {
		// Readable by every user, because a test runs the exporter as nobody.
		if builds.dir, err = os.MkdirTemp("", "labtest"); err != nil {
			return "", fmt.Errorf("make build directory: %w", err)
		}
		if err := os.Chmod(builds.dir, 0o755); err != nil {
			return "", fmt.Errorf("open build directory to others: %w", err)
		}
		builds.paths = map[string]string{}
	}
	path := filepath.Join(builds.dir, "tcpslo_"+filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	builds.paths[pkg] = path
	return path, nil
}

func removeBuilds() {
	builds.Lock()
	defer builds.Unlock()
	if builds.dir != "" {
		os.RemoveAll(builds.dir)
	}
}

// moduleRoot is the nearest directory above the working directory with a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working directory: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}
