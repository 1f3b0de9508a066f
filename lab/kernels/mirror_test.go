// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestParseMirrors(t *testing.T) {
	t.Run("Debian's own mirrors are told from other archives that serve a suite of the same name", func(t *testing.T) {
		got, err := parseMirrors(`'https://vendor.example/apt/dists/bookworm/InRelease' vendor.example_apt_dists_bookworm_InRelease 0 
'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_debian_dists_bookworm_InRelease 0 
'http://mirror.example/debian/dists/bookworm-updates/InRelease' mirror.example_debian_dists_bookworm-updates_InRelease 0 
'http://security.example/dists/bookworm-security/InRelease' security.example_dists_bookworm-security_InRelease 0 
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror.example_debian_dists_bookworm_main_binary-amd64_Packages 0 
`)
		if err != nil {
			t.Fatal(err)
		}
		if want := "http://mirror.example/debian"; got.site("trixie-backports") != want {
			t.Errorf("backports come from %q, want %q", got.site("trixie-backports"), want)
		}
		if want := "http://security.example"; got.site("bullseye-security") != want {
			t.Errorf("security updates come from %q, want %q", got.site("bullseye-security"), want)
		}
	})
	t.Run("a system without Debian's mirrors is an error, not a guess", func(t *testing.T) {
		if got, err := parseMirrors("'https://vendor.example/apt/dists/bookworm/InRelease' x 0 \n"); err == nil {
			t.Errorf("got %v", got)
		}
	})
}
