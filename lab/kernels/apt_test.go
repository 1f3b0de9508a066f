// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// buildDeb makes a package that holds the files named, each with its own name as
// content.
func buildDeb(t *testing.T, files ...string) string {
	t.Helper()
	if err := needTools("dpkg-deb"); err != nil {
		testenv.Skip(t, err.Error())
	}
	root := filepath.Join(t.TempDir(), "root")
	write := func(name, content string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("DEBIAN/control", "Package: linux-image-test\nVersion: 6.1.192-2\nArchitecture: amd64\nMaintainer: test <test@example.org>\nDescription: test\n")
	for _, name := range files {
		write(name, name)
	}
	deb := root + ".deb"
	if text, err := exec.Command("dpkg-deb", "--build", root, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb --build: %v\n%s", err, text)
	}
	return deb
}

func TestExtractKernel(t *testing.T) {
	for _, c := range []struct{ sentence, image string }{
		{"up to 7.1 the image is in /boot", "boot/vmlinuz-6.1.0-56-cloud-amd64"},
		{"from 7.2 on the image is beside the modules", "usr/lib/modules/6.1.0-56-cloud-amd64/vmlinuz"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			deb := buildDeb(t, "boot/config-6.1.0-56-cloud-amd64", c.image, "usr/share/doc/vmlinuz.txt", "usr/share/zz")
			var image bytes.Buffer
			release, err := extractKernel(context.Background(), deb, &image)
			if err != nil || release != "6.1.0-56-cloud-amd64" || image.String() != c.image {
				t.Errorf("release %q, content %q, %v", release, image.String(), err)
			}
			if version, err := debVersion(context.Background(), deb); err != nil || version != "6.1.192-2" {
				t.Errorf("version %q, %v", version, err)
			}
		})
	}
	t.Run("a package without an image is an error", func(t *testing.T) {
		deb := buildDeb(t, "usr/share/doc/vmlinuz.txt")
		if _, err := extractKernel(context.Background(), deb, new(bytes.Buffer)); err == nil {
			t.Error("no error")
		}
	})
}

// What apt itself says of the configuration is compared: a hook of the system
// that ran would empty the system's package cache, and a folder left at its
// default would be the system's.
func TestAPTConf_leaves_nothing_of_the_system_but_how_to_reach_a_mirror(t *testing.T) {
	if err := needTools("apt-config"); err != nil {
		testenv.Skip(t, err.Error())
	}
	dir := t.TempDir()
	hooks := filepath.Join(dir, "system.conf")
	conf := filepath.Join(dir, "apt.conf")
	for name, text := range map[string]string{
		hooks: `APT::Update::Post-Invoke { "rm everything"; }; Acquire::http::Proxy "http://proxy.example";`,
		conf:  aptConf(dir, "arm64"),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("apt-config", "-c", hooks, "-c", conf, "dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	dump := string(out)
	if strings.Contains(dump, "rm everything") {
		t.Error("a hook of the system would run")
	}
	for _, want := range []string{
		`Acquire::http::Proxy "http://proxy.example";`, `APT::Architectures:: "arm64";`, `Dir::State::lists "` + dir + `/lists";`,
		`Dir::Cache "` + dir + `/cache";`, `Dir::Etc::sourcelist "` + dir + `/sources.list";`, `Dir::Etc::sourceparts "/dev/null";`,
	} {
		if !strings.Contains(dump, "\n"+want+"\n") {
			t.Errorf("apt's configuration has no line %s", want)
		}
	}
}
