// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/tcpslo/tcpslo/lab/kernels/internal/guest"
)

// initPackage is PID 1 of the virtual machines.
const initPackage = modulePath + "lab/kernels/init"

// buildInit compiles PID 1 for arch into dir and returns its path. It takes the
// go command and a working folder inside the module, as `go run` and `go test`
// have.
func buildInit(ctx context.Context, dir, arch string) (string, error) {
	out := filepath.Join(dir, "init-"+arch)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, initPackage)
	// GOFLAGS could ask for what a static executable for another machine cannot
	// have, such as the race detector.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s for %s: %w\n%s", initPackage, arch, err, bytes.TrimSpace(text))
	}
	return out, nil
}

// writeInitramfs writes the whole root file system of one virtual machine to the
// file out: PID 1, the test, the job and the payload's files with mode 0755.
//
// It is not compressed: the emulated CPU takes longer to unpack a compressed
// archive than QEMU does to copy the larger one into the guest's memory.
func writeInitramfs(out, init, kernel string, p payload) (err error) {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := newCPIOWriter(file)

	job, err := json.Marshal(guest.Job{Args: p.args, Env: append([]string{guest.KernelEnv + "=" + kernel}, p.env...)})
	if err != nil {
		return err
	}
	for _, dir := range guest.MountPoints {
		if err := archive.mkdirAll(dir); err != nil {
			return err
		}
	}
	// The kernel opens the console for PID 1 before PID 1 can mount /dev.
	if err := archive.device("/dev/console", 5, 1); err != nil {
		return err
	}
	for _, text := range []struct{ dest, content string }{
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
		{"/etc/passwd", "root:x:0:0:root:/tmp:/\n"},
		{"/etc/group", "root:x:0:\n"},
		{guest.JobPath, string(job)},
	} {
		if err := archive.file(text.dest, 0o644, int64(len(text.content)), bytes.NewBufferString(text.content)); err != nil {
			return err
		}
	}
	files := maps.Clone(p.files)
	if files == nil {
		files = map[string]string{}
	}
	files["/init"], files[guest.TestPath] = init, p.binary
	for _, dest := range slices.Sorted(maps.Keys(files)) {
		if err := addHostFile(archive, dest, files[dest]); err != nil {
			return err
		}
	}
	if err := archive.close(); err != nil {
		return err
	}
	return file.Close()
}

func addHostFile(archive *cpioWriter, dest, src string) error {
	file, err := os.Open(src)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is no regular file", src)
	}
	return archive.file(dest, 0o755, info.Size(), file)
}
