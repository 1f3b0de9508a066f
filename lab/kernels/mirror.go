// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// mirrors are the addresses that Debian's suites are fetched from.
type mirrors struct {
	main     string // carries trixie-backports
	security string // carries bookworm-security
}

// site returns the address that carries suite.
func (m mirrors) site(suite string) string {
	if strings.HasSuffix(suite, "-security") {
		return m.security
	}
	return m.main
}

// systemMirrors returns the mirrors that this system's own apt is set up with, so
// that kernels come by the way that this machine is allowed to use.
//
// The addresses are read from `apt-get update --print-uris`, which fetches
// nothing, needs no rights and, unlike indextargets, answers before the first
// update.
func systemMirrors(ctx context.Context) (mirrors, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "update", "--print-uris").Output()
	if err != nil {
		return mirrors{}, fmt.Errorf("ask apt for its mirrors: %w", withStderr(err))
	}
	return parseMirrors(string(out))
}

var inRelease = regexp.MustCompile(`(?m)^'(\S+)/dists/(\S+)/InRelease'`)

// parseMirrors finds Debian's two mirrors among the sources that apt-get lists.
// Other archives may serve a suite "bookworm" too, but only a distribution's own
// mirror serves "bookworm-updates" and "bookworm-security".
func parseMirrors(uris string) (mirrors, error) {
	var found mirrors
	for _, m := range inRelease.FindAllStringSubmatch(uris, -1) {
		site, suite := m[1], m[2]
		switch {
		case strings.HasSuffix(suite, "-updates") && found.main == "":
			found.main = site
		case strings.HasSuffix(suite, "-security") && found.security == "":
			found.security = site
		}
	}
	if found.main == "" || found.security == "" {
		return mirrors{}, errors.New("apt's configuration names no Debian mirror with the suites …-updates and …-security: pass -mirror and -security-mirror")
	}
	return found, nil
}

// withStderr adds what a command printed on its standard error to its exit error.
func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
