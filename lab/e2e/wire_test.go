// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// packet is one TCP segment as tshark saw it.
type packet struct {
	at         float64 // seconds
	stream     string
	fromServer bool
	data       int // bytes
	syn, ack   bool
	ends       int // sequence number behind its data, relative to the connection's first
	confirms   int // sequence number up to which it acknowledges, if ack
}

// capture runs tshark on the loopback interface for the server's port until the
// returned function is called.
func capture(t *testing.T, server *labtest.Server) (stop func() []packet) {
	t.Helper()
	tshark := testenv.Need(t, "tshark", "tshark")
	addr := netip.MustParseAddrPort(server.Listen[0])
	port := strconv.Itoa(int(addr.Port()))
	cmd := exec.Command(tshark, "-i", "lo", "-n", "-l", "-B", "64", "-f", "tcp port "+port, "-T", "fields", "-E", "separator=,",
		"-e", "frame.time_epoch", "-e", "tcp.stream", "-e", "tcp.srcport", "-e", "tcp.len", "-e", "tcp.flags.syn", "-e", "tcp.flags.ack",
		"-e", "tcp.nxtseq", "-e", "tcp.ack")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Killed, it would leave the process that captures for it.
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	// It says too early that it captures: it does when it sees a connection.
	labtest.Eventually(t, func() error {
		labtest.Dial(t, nil, addr, labtest.DialOptions{}).Close()
		if len(lines) == 0 {
			return fmt.Errorf("tshark has seen nothing so far")
		}
		return nil
	})
	return func() []packet {
		// Behind its last packet nothing is missing.
		seen := len(lines)
		labtest.Eventually(t, func() error {
			labtest.Dial(t, nil, addr, labtest.DialOptions{}).Close()
			if len(lines) <= seen+20 {
				return fmt.Errorf("tshark has seen nothing new")
			}
			return nil
		})
		cmd.Process.Signal(syscall.SIGINT)
		var all []packet
		for line := range lines {
			fields := strings.Split(line, ",")
			if len(fields) != 8 {
				t.Fatalf("tshark printed %q", line)
			}
			p := packet{stream: fields[1], fromServer: fields[2] == port}
			isTrue := func(text string) bool { return text == "1" || text == "True" }
			p.syn, p.ack = isTrue(fields[4]), isTrue(fields[5])
			p.at, err = strconv.ParseFloat(fields[0], 64)
			for field, number := range map[int]*int{3: &p.data, 6: &p.ends, 7: &p.confirms} {
				if err == nil && fields[field] != "" {
					*number, err = strconv.Atoi(fields[field])
				}
			}
			if err != nil {
				t.Fatalf("tshark printed %q: %v", line, err)
			}
			all = append(all, p)
		}
		cmd.Wait()
		return all
	}
}

// The same thousand requests, by the stages and by the packets: the mean of what lies
// between two packets differs by less than 200 µs.
func TestStages_add_up_to_what_is_seen_on_the_wire(t *testing.T) {
	const connections, each, tolerance = 100, 10, 200e-6
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	stop := capture(t, server)
	for i := range connections {
		v := visit(t, server)
		for range each {
			v.ask(t, fmt.Sprintf("/slow?ms=%d", i%3))
			v.answer(t)
		}
		v.Close()
	}
	labtest.Settles(t, func() error {
		return wantStages(ex.Scrape(), service, connections, connections, connections*each, connections*each, connections*each, connections*each, connections*each)
	})
	got := stagesOf(ex.Scrape(), service)

	// A request's time on the wire: from its first packet to the first of its response, which is
	// all of it, and on to its acknowledgement.
	type stream struct {
		synAck, established, asked, answered float64
		answerEnds                           int
	}
	streams := map[string]*stream{}
	var handshakes, answers, acks int
	var handshakeSeconds, answerSeconds, ackSeconds, acceptBound float64
	for _, p := range stop() {
		s := streams[p.stream]
		if s == nil {
			s = &stream{}
			streams[p.stream] = s
		}
		switch {
		case p.syn && p.ack:
			s.synAck = p.at
		case !p.fromServer:
			if s.synAck != 0 && s.established == 0 {
				s.established = p.at
			}
			if s.answered != 0 && p.confirms >= s.answerEnds {
				acks++
				ackSeconds += p.at - s.answered
				s.answered = 0
			}
			if p.data > 0 && s.asked == 0 {
				s.asked = p.at
			}
		case p.data > 0 && s.asked != 0:
			if s.synAck != 0 {
				handshakes++
				handshakeSeconds += s.established - s.synAck
				acceptBound += p.at - s.established
				s.synAck = 0
			}
			answers++
			answerSeconds += p.at - s.asked
			s.asked, s.answered, s.answerEnds = 0, p.at, p.ends
		}
	}
	if handshakes != connections || answers != connections*each || acks != connections*each {
		t.Fatalf("tshark has seen %d connections, %d requests and %d acknowledgements, want %d and twice %d", handshakes, answers, acks, connections, connections*each)
	}
	compare := func(what string, stages, wire float64, n int) {
		t.Helper()
		if difference := (stages - wire) / float64(n); difference > tolerance || difference < -tolerance {
			t.Errorf("%s: %.6f s by the stages, %.6f s by the packets in %d, %+.1f µs each, want less than %.0f µs", what, stages, wire, n, difference*1e6, tolerance*1e6)
		} else {
			t.Logf("%s: %+.1f µs of %.1f µs each", what, difference*1e6, wire/float64(n)*1e6)
		}
	}
	compare("handshakes", got["handshake"].seconds, handshakeSeconds, handshakes)
	compare("requests", got["read_wait"].seconds+got["parse"].seconds+got["handler"].seconds+got["first_packet"].seconds, answerSeconds, answers)
	compare("acknowledgements", got["ack"].seconds, ackSeconds, acks)
	if got["accept_queue"].seconds > acceptBound {
		t.Errorf("connections waited %.6f s in the accept queue, but their first responses came %.6f s after they were there", got["accept_queue"].seconds, acceptBound)
	}
}
