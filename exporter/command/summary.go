// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/service"
)

// summaryRows bounds the table: what is longer is better read in a browser.
const summaryRows = 20

// summary is what a person who starts the exporter wants to know: what it found
// and where to look.
type summary struct {
	services []service.Service
	programs []probe.Status
	took     time.Duration // from start to observing
	self     uint32        // process number of the exporter
	url      string        // of the landing page, ends with a slash
	metrics  string        // path of the metrics
	api      bool
	colour   bool
}

// print writes the summary.
func (s summary) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s  Linux %s, observing after %v.\n\n", s.bold("From the SYN to the SLO."), kernelRelease(), s.took.Round(time.Millisecond))
	s.printServices(out)
	s.printMissing(out)
	fmt.Fprintf(out, "\n  overview   %s\n  metrics    %s%s\n", s.bold(s.url), s.url, strings.TrimPrefix(s.metrics, "/"))
	if s.api {
		fmt.Fprintf(out, "  as JSON    %sapi/v1/services\n", s.url)
	}
	fmt.Fprintf(out, "\nServices that start later are found as they start. Ctrl-C ends it and takes all probes away.\n\n")
}

func (s summary) printServices(out io.Writer) {
	services := slices.DeleteFunc(slices.Clone(s.services), func(one service.Service) bool { return slices.Contains(one.PIDs, s.self) })
	if len(services) == 0 {
		fmt.Fprintln(out, "  No other process listens yet. Start a Go HTTP server: it is found by itself.")
		return
	}
	// Go servers first: they are what most people came for.
	slices.SortStableFunc(services, func(a, b service.Service) int { return cmp.Compare(rank(a), rank(b)) })
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  SERVICE\tGO\tLISTENS ON\tOBSERVED")
	for _, one := range services[:min(len(services), summaryRows)] {
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", one.Name, cmp.Or(one.GoVersion, "-"), addresses(one.Listeners), s.observed(one))
	}
	table.Flush()
	if more := len(services) - summaryRows; more > 0 {
		fmt.Fprintf(out, "  … and %d more\n", more)
	}
}

// rank orders services: observed Go servers, Go programs, others.
func rank(one service.Service) int {
	switch {
	case one.HTTP.State == "attached":
		return 0
	case one.GoVersion != "":
		return 1
	}
	return 2
}

func (s summary) observed(one service.Service) string {
	if one.HTTP.State == "attached" {
		return s.green("requests and connections")
	}
	return "connections (" + one.HTTP.Reason + ")"
}

// addresses lists a service's listeners, each once.
func addresses(listeners []service.Listener) string {
	var all []string
	for _, l := range listeners {
		text := l.Listener
		if l.Netns != "" {
			text += " (netns " + l.Netns + ")"
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if len(all) > 3 {
		all = append(all[:3], fmt.Sprintf("… %d more", len(all)-3))
	}
	return cmp.Or(strings.Join(all, ", "), "-")
}

// printMissing names the programs that this kernel offers no place for, so that
// nobody takes a metric that isn't there for a 0.
func (s summary) printMissing(out io.Writer) {
	var missing []string
	for _, program := range s.programs {
		if program.Variant == "" {
			missing = append(missing, program.Probe+"/"+program.Program)
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(out, "\n  Not on this kernel: %s (why: tcpslo_exporter probes)\n", strings.Join(missing, ", "))
	}
}

func (s summary) bold(text string) string  { return s.escape("1", text) }
func (s summary) green(text string) string { return s.escape("32", text) }

func (s summary) escape(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// landingURL is how a person on this machine reaches an address that the
// exporter listens on.
func landingURL(address net.Addr, tls bool) string {
	scheme := "http"
	if tls {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(address.String())
	if err != nil { // a vsock address
		return scheme + "://" + address.String() + "/"
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "of unknown release"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// isTerminal tells whether a person reads the file, and reads colours.
func isTerminal(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
