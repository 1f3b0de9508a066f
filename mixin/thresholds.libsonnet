// SPDX-License-Identifier: Apache-2.0
//
// Where the alerts of kernel and Go signals begin. A cause alone wakes nobody: what
// users feel is the business of the SLOs, so most of these make a ticket, and what
// is harmless makes nothing.
{
  _config+:: {
    thresholds: {
      // Share of an accept queue that is filled in each scrape for two minutes. A burst
      // fills it for milliseconds, and is no harm as long as nothing is refused; a queue
      // that stands at four fifths means that accept() is slower than the arrivals, and
      // what still fits waits for all that is before it.
      acceptQueueShare: 0.8,

      // Connections refused each second. Each one costs its client at least 1 s, the first
      // retransmission of a SYN (RFC 6298, section 2.1): one in ten seconds, for minutes,
      // is no stray packet of a scanner any more. The kernel's own count is for the whole
      // machine; this one is for the listener that the clients meet.
      listenDropsPerSecond: 0.1,

      // SYN-ACKs sent again, as a share of the connections that came to be, and for each
      // second. On the Internet 1 to 2 % of packets get lost, and a scanner that never
      // answers makes a few; above both of these the way to the clients is broken, or
      // somebody sends SYNs from forged addresses.
      synackRetransmitsShare: 0.05,
      synackRetransmitsPerSecond: 0.5,

      // Coefficient of variation (standard deviation divided by mean) of the connections of
      // the workers of a listener, within ten minutes. Of 4 workers, 0.5 is what 44, 28, 16
      // and 12 % make: the busiest does nearly four times the work of the idlest.
      acceptImbalance: 0.5,
      // It is judged from this many connections for each worker on. The kernel spreads by a hash,
      // so k connections for each differ by 1/sqrt(k) even where all is well: 0.1 for 100.
      acceptImbalanceConnections: 100,

      // Episodes each second in which a receive window fell below 4 KiB. A server that takes large
      // uploads has one now and then, flow control is meant to do that. One each two seconds, for
      // a quarter of an hour, is a reader that can't keep up or reads in crumbs.
      receiveWindowCollapsesPerSecond: 0.5,

      // Windows shut each second. The peer then waits for a window update, and where that is
      // lost for its persist timer, 200 ms and more (RFC 9293, section 3.8.6.1).
      zeroWindowsPerSecond: 0.2,

      // Packets each second that a socket had no room for. Each one is sent again (TCP) or
      // lost (UDP). Fewer than this is what a restart of the service does.
      socketReceiveDropsPerSecond: 1,

      // Packets that a CPU drops each second because its backlog is full. It should be 0; 1
      // leaves out the moment at which a device comes up.
      softnetDropsPerSecond: 1,

      // Runs of the NET_RX softirq that ended with work left, for each packet of that CPU. A run
      // takes 300 packets at most (net.core.netdev_budget), so 1/1000 means that about a third of
      // all packets come in runs that did not suffice. A run that took 2 ms before it had
      // 300 packets counts as well.
      softnetSqueezesPerPacket: 0.001,
      // And each second, because a CPU with little to do is squeezed by a single burst.
      softnetSqueezesPerSecond: 1,

      // Packets each second that a device dropped because the host took them too slowly.
      nicOverrunsPerSecond: 1,

      // Share of the ephemeral ports that one source has in use to one destination. Above it, connect
      // has to search long for a free one (the kernel tries them one by one), and at 1 it fails
      // with EADDRNOTAVAIL. A fifth of the 28,232 ports of the default lasts for a minute at 94
      // new connections each second: enough to act.
      ephemeralPortsShare: 0.8,

      // Connections each second that skip TIME_WAIT because the table is full. A few are no harm:
      // late segments of one must meet a new connection of the same four numbers.
      timeWaitOverflowsPerSecond: 1,

      // A CLOSE_WAIT socket waits for nothing but close() of its own process. Ten minutes is longer
      // than any handler should work for a client that has gone.
      closeWaitSeconds: 600,
      // A single one may be a pool's idle connection, which is found out when it is used again.
      closeWaitSockets: 10,

      // Goroutines that a function has left behind. The collector suspects after five windows in
      // succession in which none ended (docs/decisions/leaks.md), so this only says how many
      // are worth a ticket: at 8 KiB of stack and what hangs on it, 20 are nothing, and
      // a leak gets there soon.
      leakedGoroutines: 20,

      // The same for file descriptors, and for connections that nobody serves: of those there are
      // not many in all.
      leakedDescriptors: 20,

      // Share of the limit of open files. At 1, accept() fails with EMFILE, and net/http waits
      // for up to 1 s before it tries again.
      openDescriptorsShare: 0.8,

      // Time from bytes in a socket to the goroutine that reads them, 99th percentile, seconds. Where
      // there are free CPUs it is below 1 ms; 10 ms is the time slice of a goroutine before it is
      // preempted (forcePreemptNS, runtime/proc.go): reads queue behind busy goroutines.
      netpollWakeupSeconds: 0.01,
      // And it is judged from this many wake-ups each second on: of few, the 99th percentile is
      // the slowest one.
      netpollWakeupsPerSecond: 5,

      // How long a program that has run stays expected. A collector that was switched off with intent
      // is forgotten after this.
      probeLostLookback: '6h',

      // Runs of other programs at the same hook within 15 minutes, during which a program did not run
      // once, that prove that it is no longer attached: all of them see the same events.
      probeDetachedRuns: 100,

      // Records that could not be counted, each second. Every figure of that probe is too low by
      // as many.
      recordsLostPerSecond: 0.1,
      // Reasons that take nothing away from metrics. slow_consumer: whoever reads the live stream of
      // requests is slower than they come; the stream says so itself.
      recordsLostIgnoredReasons: 'slow_consumer',

      // Share of runs that the kernel skips because the same program runs on that CPU already.
      probeMissesShare: 0.001,

      // Share of a BPF map that is filled. What does not fit is lost, and counted as lost.
      mapShare: 0.9,
    },
  },
}
