// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"strconv"

	"github.com/prometheus/procfs"

	"github.com/tcpslo/tcpslo/exporter/names"
)

var softnetKind = Kind{Collector: names.Softnet, New: newSoftnet}

// softnet reads net/softnet_stat: a line for each CPU that is online
// (net/core/net-procfs.c). The file is in every network namespace and says the
// same in each.
type softnet struct {
	procfs procfs.FS
}

func newSoftnet(environment Environment, _ Options) (Collector, error) {
	fs, err := procfs.NewFS(environment.Procfs)
	if err != nil {
		return nil, err
	}
	s := &softnet{fs}
	if _, err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *softnet) read() ([]procfs.SoftnetStat, error) {
	stats, err := s.procfs.NetSoftnetStat()
	if err != nil {
		return nil, fmt.Errorf("read net/softnet_stat: %w", err)
	}
	return stats, nil
}

// softnetColumnsWithCPU is how many columns there are since Linux 5.10, which
// added the length of the backlog and the number of the CPU. In 6.10 two more
// came, which split that length.
const softnetColumnsWithCPU = 13

func (s *softnet) Update() (*Found, error) {
	stats, err := s.read()
	if err != nil {
		return nil, err
	}
	f := &Found{}
	for _, stat := range stats {
		if stat.Width < softnetColumnsWithCPU {
			// Without the number, lines move up when a CPU goes offline.
			return f, fmt.Errorf("net/softnet_stat has %d columns, %d are needed to tell the CPUs apart (Linux 5.10)", stat.Width, softnetColumnsWithCPU)
		}
		cpu := strconv.FormatUint(uint64(stat.Index), 10)
		f.Add(names.SoftnetProcessed, float64(stat.Processed), cpu)
		f.Add(names.SoftnetDropped, float64(stat.Dropped), cpu)
		f.Add(names.SoftnetTimeSqueeze, float64(stat.TimeSqueezed), cpu)
		f.Add(names.SoftnetReceivedRPS, float64(stat.ReceivedRps), cpu)
		f.Add(names.SoftnetFlowLimit, float64(stat.FlowLimitCount), cpu)
		f.Add(names.SoftnetBacklog, float64(stat.SoftnetBacklogLen), cpu)
	}
	return f, nil
}

func (s *softnet) Close() error { return nil }
