// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

// The lists in testdata are what `apt-cache pkgnames linux-` printed for three
// suites in November 2026, shortened. The expected packages were chosen by eye.
func TestNewestPackage(t *testing.T) {
	for _, c := range []struct {
		sentence, suite, version, arch, want string
	}{
		{"a signed image of the cloud flavour is chosen, not -unsigned, -dbg or -rt", "bullseye-security", "5.10", "amd64", "linux-image-5.10.0-46-cloud-amd64"},
		{"a backported series does not count as the suite's older one", "bullseye-security", "6.1", "amd64", "linux-image-6.1.0-0.deb11.52-cloud-amd64"},
		{"numbers are compared as numbers: 117 is newer than 95", "trixie-security", "6.12", "amd64", "linux-image-6.12.117+deb13-cloud-amd64"},
		{"the other architecture has its own package", "trixie-security", "6.12", "arm64", "linux-image-6.12.117+deb13-cloud-arm64"},
		{"6.1 is not a prefix of 6.18", "trixie-backports", "6.1", "amd64", ""},
		{"up to 6.18 the image is in linux-image", "trixie-backports", "6.18", "amd64", "linux-image-6.18.15+deb13-cloud-amd64"},
		{"from 6.19 on the image is in linux-binary", "trixie-backports", "6.19", "amd64", "linux-binary-6.19.14+deb13-cloud-amd64"},
		{"no series means the highest one of the suite", "trixie-backports", "", "amd64", "linux-binary-7.3.4+deb13-cloud-amd64"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			list, err := os.ReadFile("testdata/" + c.suite + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			got, err := newestPackage(strings.Fields(string(list)), c.version, c.arch)
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestNewestPackage_prefers_a_fourth_number_to_none(t *testing.T) {
	names := []string{"linux-image-6.12.115+deb13.1-cloud-amd64", "linux-image-6.12.115+deb13-cloud-amd64"}
	if got, err := newestPackage(names, "6.12", "amd64"); got != names[0] || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, names[0])
	}
}

func TestSelectSeries(t *testing.T) {
	t.Run("every kernel of the matrix has a name of its own", func(t *testing.T) {
		seen := map[string]bool{}
		for _, s := range matrix {
			if seen[s.name] {
				t.Errorf("%q is there twice", s.name)
			}
			seen[s.name] = true
		}
	})
	t.Run("names may come in any order and twice", func(t *testing.T) {
		got, err := selectSeries([]string{"newest", "5.10", "newest"})
		if err != nil || len(got) != 2 || got[0].name != "5.10" || got[1].name != "newest" {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("an unknown name is refused even beside all, with the known ones named", func(t *testing.T) {
		_, err := selectSeries([]string{"all", "4.19"})
		if err == nil || !strings.Contains(err.Error(), `"4.19"`) || !strings.Contains(err.Error(), "5.10, 6.1") {
			t.Errorf("got %v", err)
		}
	})
}
