// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

// linger is how long probes stay in an executable that no process executes any
// more, so that a server that restarts, or one of many short-lived processes,
// is observed from its first request. They leave at once when somebody wants to
// write to the file.
const linger = 10 * time.Second

// executable is a file that processes execute, whatever its language.
type executable struct {
	key       fileKey
	state     fileState
	path      string // as its first process saw it
	number    uint32
	processes map[uint32]*process
	detach    *time.Timer // runs while the probes linger
	identity
}

func (x *executable) name() string { return filepath.Base(x.path) }

// identity is what a look into an executable found out.
type identity struct {
	file      *os.File                     // open while a probe is attached
	goVersion string                       // "" if it is not Go
	attached  map[string]*probe.Executable // by name of the probe
	reasons   map[string]string            // why a probe is not attached
}

// identify opens the file and attaches every probe that has its place in it.
func (d *Discovery) identify(x *executable, tgid uint32) (found identity) {
	found = identity{attached: map[string]*probe.Executable{}, reasons: map[string]string{}}
	probes := d.goProbes()
	if len(probes) == 0 {
		return found
	}
	// The descriptor names the file to the kernel even if the process, or the file
	// itself, is gone before all probes are attached.
	file, err := os.Open(processPath(tgid, "exe"))
	if err != nil {
		d.log.Debug("executable can't be read", "pid", tgid, "error", err)
		return found
	}
	defer func() {
		if len(found.attached) == 0 {
			file.Close()
			return
		}
		found.file = file
	}()
	goFile, err := goexe.Open(descriptorPath(file))
	if errors.Is(err, goexe.ErrNotGo) {
		return found
	}
	if err != nil {
		d.log.Warn("go executable can't be observed", "executable", x.path, "reason", err)
		found.goVersion = "?"
		for _, p := range probes {
			found.reasons[p.Definition.Name] = err.Error()
		}
		return found
	}
	defer goFile.Close()
	found.goVersion = goFile.GoVersion()
	for _, p := range probes {
		name := p.Definition.Name
		attached, err := p.Observe(probe.Target{Path: descriptorPath(file), File: goFile, Device: x.key.device, Inode: x.key.inode, Number: x.number})
		if err == nil {
			found.attached[name] = attached
			d.log.Info("probe attached", "probe", name, "executable", x.path, "go", found.goVersion)
			continue
		}
		found.reasons[name] = err.Error()
		level := d.log.Warn
		if errors.Is(err, goexe.ErrNoFunction) {
			level = d.log.Debug // a Go program without a server is no news
		}
		level("probe is not attached", "probe", name, "executable", x.path, "go", found.goVersion, "reason", err)
	}
	return found
}

func descriptorPath(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

// demand attaches the probes that an executable turned out to need.
func (d *Discovery) demand(number uint32) {
	d.registry.mu.Lock()
	x, ok := d.registry.numbers[number]
	d.registry.mu.Unlock()
	if !ok || x.file == nil {
		return
	}
	for name, attached := range x.attached {
		if err := attached.Demand(descriptorPath(x.file)); err != nil {
			d.log.Warn("probe is not attached", "probe", name, "executable", x.path, "reason", err)
		} else {
			d.log.Info("requests without a pattern: following the router", "executable", x.path)
		}
	}
}
