// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

var sysctlKind = Kind{Collector: names.Sysctl, New: newSysctls}

// sysctls reads the parameters that sysctl.Names lists.
type sysctls struct{ procfs string }

func newSysctls(environment Environment, _ Options) (Collector, error) {
	s := &sysctls{environment.Procfs}
	found := 0
	for _, name := range sysctl.Names {
		if _, err := sysctl.Read(s.procfs, name); err == nil {
			found++
		}
	}
	if found == 0 {
		return nil, fmt.Errorf("none of %d sysctls is in %s/sys", len(sysctl.Names), s.procfs)
	}
	return s, nil
}

func (s *sysctls) Update() (*Found, error) {
	f := &Found{}
	var errs []error
	for _, name := range sysctl.Names {
		values, err := sysctl.Read(s.procfs, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that a kernel or container doesn't have is absent
			errs = append(errs, err)
		}
		for i, value := range values {
			label := name
			if len(values) > 1 {
				label = fmt.Sprintf("%s[%d]", name, i)
			}
			f.Add(names.SysctlValue, value, label)
		}
	}
	return f, errors.Join(errs...)
}

func (s *sysctls) Close() error { return nil }
