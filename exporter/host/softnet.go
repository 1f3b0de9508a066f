// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
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

var (
	softnetProcessed   = names.SoftnetProcessed.Desc()
	softnetDropped     = names.SoftnetDropped.Desc()
	softnetTimeSqueeze = names.SoftnetTimeSqueeze.Desc()
	softnetReceivedRPS = names.SoftnetReceivedRPS.Desc()
	softnetFlowLimit   = names.SoftnetFlowLimit.Desc()
	softnetBacklog     = names.SoftnetBacklog.Desc()
)

func (s *softnet) Update(ch chan<- prometheus.Metric) error {
	stats, err := s.read()
	if err != nil {
		return err
	}
	for _, stat := range stats {
		if stat.Width < softnetColumnsWithCPU {
			// Without the number, lines move up when a CPU goes offline.
			return fmt.Errorf("net/softnet_stat has %d columns, %d are needed to tell the CPUs apart (Linux 5.10)", stat.Width, softnetColumnsWithCPU)
		}
		cpu := strconv.FormatUint(uint64(stat.Index), 10)
		for desc, count := range map[*prometheus.Desc]uint32{
			softnetProcessed:   stat.Processed,
			softnetDropped:     stat.Dropped,
			softnetTimeSqueeze: stat.TimeSqueezed,
			softnetReceivedRPS: stat.ReceivedRps,
			softnetFlowLimit:   stat.FlowLimitCount,
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(count), cpu)
		}
		ch <- prometheus.MustNewConstMetric(softnetBacklog, prometheus.GaugeValue, float64(stat.SoftnetBacklogLen), cpu)
	}
	return nil
}

func (s *softnet) Close() error { return nil }
