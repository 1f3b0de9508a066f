// SPDX-License-Identifier: Apache-2.0

// Command kernels runs a test on the kernels that the project promises to work
// on, each in a virtual machine of its own under QEMU.
//
//	go run ./lab/kernels test                # the project's tests on every kernel
//
//	go run ./lab/kernels fetch               # once: download the kernels
//	CGO_ENABLED=0 go test -c -o probe.test ./exporter/probe
//	go run ./lab/kernels run -kernel all probe.test -test.v
//
// A virtual machine has no disk, no network card and no kernel modules: the test,
// a static PID 1 and the files given with -file are its whole root file system,
// and lo its only interface.
//
// It needs QEMU and, to fetch, apt; it installs nothing and needs no root. Hardware
// virtualisation is not needed: a boot takes about 5 seconds of emulation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

const usage = `Usage: go run ./lab/kernels [-cache DIR] COMMAND

  fetch [-refresh] [-mirror URL] [-security-mirror URL] [KERNEL...]
        download the kernels of the matrix from Debian's archive
  run -kernel KERNEL|all [flags] TESTBINARY [ARG...]
        run a static test binary on kernels; ` + "`run -h`" + ` lists the flags
  test [-kernel KERNEL] [-suite SUITE] [flags]
        build the project's tests and run them on every kernel; ` + "`test -h`" + ` lists the flags
  list
        list the kernels and what is cached of them

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := command(ctx, os.Args[1:], os.Stdout, newProgress(os.Stderr))
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kernels:", err)
	}
	os.Exit(code)
}

// command runs one command line. The code is that of the test, or one of the
// exit codes of this program, or 2 for a wrong command line.
func command(ctx context.Context, args []string, out io.Writer, progress progress) (code int, err error) {
	dir, err := defaultCacheDir()
	if err != nil {
		return exitRunner, err
	}
	flags := flag.NewFlagSet("kernels", flag.ContinueOnError)
	flags.StringVar(&dir, "cache", dir, "folder that keeps the kernels (environment: "+cacheEnv+")")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	var name string
	if args = flags.Args(); len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "fetch":
		return fetchCommand(ctx, cache{dir}, args, progress)
	case "run":
		return runCommand(ctx, cache{dir}, args, out, progress)
	case "test":
		return testCommand(ctx, cache{dir}, args, out, progress)
	case "list":
		return listCommand(cache{dir}, args, out)
	case "":
		flags.Usage()
		return 2, errors.New("no command: want fetch, run, test or list")
	default:
		return 2, fmt.Errorf("unknown command %q: want fetch, run, test or list", name)
	}
}

func fetchCommand(ctx context.Context, c cache, args []string, progress progress) (int, error) {
	f := fetcher{cache: c, progress: progress}
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	flags.StringVar(&f.cache.dir, "cache", c.dir, "folder that keeps the kernels (environment: "+cacheEnv+")")
	flags.BoolVar(&f.refresh, "refresh", false, "fetch kernels again that are cached")
	flags.StringVar(&f.mirrors.main, "mirror", "", "Debian mirror (default: the one in apt's configuration)")
	flags.StringVar(&f.mirrors.security, "security-mirror", "", "Debian security mirror (default: the one in apt's configuration)")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	kernels, err := selectSeries(flags.Args())
	if err != nil {
		return 2, err
	}
	if err := f.fetch(ctx, kernels); err != nil {
		return exitRunner, err
	}
	var emulators []string
	for _, k := range kernels {
		emulators = append(emulators, qemu(k.arch))
	}
	if err := needTools(emulators...); err != nil {
		fmt.Fprintln(progress.w, "To run them:", err)
	}
	return 0, nil
}

func runCommand(ctx context.Context, c cache, args []string, out io.Writer, progress progress) (int, error) {
	var names []string
	var p payload
	r := runner{cache: c, progress: progress, out: out}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	r.addFlags(flags, &names, 5*time.Minute)
	flags.Func("file", "copy a file or folder to the guest, as `DEST=SRC`; may be repeated", p.addFile)
	flags.Func("env", "set a variable in the guest, as `NAME=VALUE`; may be repeated", p.addEnv)
	flags.BoolVar(&r.raw, "v", false, "print the tests' output raw, without the kernel's name before each line")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if len(names) == 0 || flags.NArg() == 0 {
		flags.Usage()
		return 2, errors.New("run: want -kernel and a test binary")
	}
	p.binary, p.args = flags.Arg(0), flags.Args()[1:]

	kernels, err := selectSeries(names)
	if err != nil {
		return 2, err
	}
	kernels, leftOut, err := p.choose(kernels, names)
	if err != nil {
		return exitRunner, err
	}
	for _, k := range leftOut {
		progress.step(k.name, "left out: the test binary is not for %s", k.arch)
	}
	jobs := make([]job, len(kernels))
	for i, k := range kernels {
		jobs[i] = job{series: k, payload: p}
	}
	results, err := r.run(ctx, jobs)
	if err != nil {
		return exitRunner, err
	}
	return exitCode(results), writeSummary(progress.w, results)
}

// addFlags adds the flags of what boots machines. names gets the kernels.
func (r *runner) addFlags(flags *flag.FlagSet, names *[]string, timeout time.Duration) {
	flags.StringVar(&r.cache.dir, "cache", r.cache.dir, "folder that keeps the kernels (environment: "+cacheEnv+")")
	flags.Func("kernel", "`kernel` to run on, or all; may be repeated", func(name string) error {
		*names = append(*names, name)
		return nil
	})
	flags.DurationVar(&r.machine.timeout, "timeout", timeout, "end a virtual machine that takes longer")
	flags.IntVar(&r.parallel, "parallel", 2, "virtual machines at a time")
	flags.StringVar(&r.machine.accel, "accel", defaultAccel, "QEMU's accelerator; kvm only where it is known to work")
	flags.IntVar(&r.machine.memory, "memory", 1024, "memory of a virtual machine, in MiB")
	flags.IntVar(&r.machine.cpus, "cpus", 2, "CPUs of a virtual machine")
	flags.StringVar(&r.machine.keepLogs, "logs", "", "keep the kernels' console logs in this `folder`")
}

func listCommand(c cache, args []string, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	flags.StringVar(&c.dir, "cache", c.dir, "folder that keeps the kernels (environment: "+cacheEnv+")")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "KERNEL\tARCH\tSUITE\tCACHED\tPACKAGE VERSION\tSHA-256")
	for _, k := range matrix {
		r, err := c.load(k.name)
		switch {
		case missing(err):
			r.Release = "no"
		case err != nil:
			return exitRunner, err
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", k.name, k.arch, k.suite, r.Release, r.Version, r.SHA256)
	}
	return 0, table.Flush()
}
