// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// keyring holds the keys that Debian's archives are signed with; the package
// debian-archive-keyring brings it.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is an apt of its own, in a folder of its own, for one suite and
// architecture. It reads and writes nothing of the system's apt but the
// system's settings of how to reach a mirror, and installs nothing.
type apt struct {
	dir string
}

// newAPT sets an apt up in dir, which must exist and be empty, and fetches the
// suite's list of packages from site.
func newAPT(ctx context.Context, dir, site, suite, arch string) (*apt, error) {
	a := &apt{dir: dir}
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "preferences.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	source := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", arch, keyring, site, suite)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "apt.conf"), []byte(aptConf(dir, arch)), 0o644); err != nil {
		return nil, err
	}
	if _, err := a.output(ctx, "apt-get", "--error-on=any", "update"); err != nil {
		return nil, fmt.Errorf("fetch the package list of %q: %w", suite, err)
	}
	return a, nil
}

// aptConf is read after the system's configuration. A command line could not do
// this: only a file can clear the hooks, some of which empty the system's cache.
func aptConf(dir, arch string) string {
	return fmt.Sprintf(`
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "%[2]s";
#clear APT::Architectures;
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Cache "%[1]s/cache";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "%[1]s/preferences.d";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "%[1]s/lists";
Dir::State::status "/dev/null";
`, dir, arch)
}

// linuxPackages returns the names of the suite's packages that begin with linux-.
func (a *apt) linuxPackages(ctx context.Context) ([]string, error) {
	out, err := a.output(ctx, "apt-cache", "pkgnames", "linux-")
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	return strings.Fields(out), nil
}

// download fetches a package, which apt checks against the signed list, and
// returns the path of its .deb file.
func (a *apt) download(ctx context.Context, pkg string) (string, error) {
	dir, err := os.MkdirTemp(a.dir, "deb")
	if err != nil {
		return "", err
	}
	cmd := a.command(ctx, "apt-get", "download", pkg)
	cmd.Dir = dir
	if _, err := cmd.Output(); err != nil {
		return "", fmt.Errorf("download %q: %w", pkg, withStderr(err))
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("download %q: apt-get left %d .deb files", pkg, len(debs))
	}
	return debs[0], nil
}

func (a *apt) output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := a.command(ctx, name, args...).Output()
	return string(out), withStderr(err)
}

func (a *apt) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, append([]string{"-q", "-c", filepath.Join(a.dir, "apt.conf")}, args...)...)
}

// debVersion returns the version of a .deb file, for example "6.1.192-2".
func debVersion(ctx context.Context, deb string) (string, error) {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--field", deb, "Version").Output()
	if err != nil {
		return "", fmt.Errorf("read the version of %q: %w", filepath.Base(deb), withStderr(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// extractKernel copies the kernel image out of a .deb file into w, without
// unpacking the rest. It returns the kernel's release, which both places that
// Debian keeps an image at tell: /boot/vmlinuz-RELEASE, and from 7.2 on
// /usr/lib/modules/RELEASE/vmlinuz.
func extractKernel(ctx context.Context, deb string, w io.Writer) (release string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("extract the kernel of %q: %w", filepath.Base(deb), err)
		}
	}()
	// The pipe is left before its end once the image is found; the context ends
	// dpkg-deb then.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // The error is the kill by cancel.
	}()
	files := tar.NewReader(pipe)
	for {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			return "", errors.New("no vmlinuz inside")
		}
		if err != nil {
			return "", err
		}
		if release := kernelRelease(file.Name); release != "" && file.Typeflag == tar.TypeReg {
			_, err := io.Copy(w, files)
			return release, err
		}
	}
}

// kernelRelease returns the release of the kernel whose image the path of a
// package's file names, or "" if it names none.
func kernelRelease(name string) string {
	dir, base := path.Split(path.Clean("/" + name))
	if release, ok := strings.CutPrefix(base, "vmlinuz-"); ok && dir == "/boot/" {
		return release
	}
	if base == "vmlinuz" {
		return path.Base(dir)
	}
	return ""
}
