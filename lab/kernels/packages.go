// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// kernelPackage matches the packages that can hold a signed kernel image of the
// cloud flavour. The version must start with a number, which leaves out the
// metapackages (linux-image-cloud-amd64), linux-binary-unsigned-… and, with
// nothing allowed behind the architecture, …-dbg and …-unsigned.
var kernelPackage = regexp.MustCompile(`^linux-(image|binary)-((\d+\.\d+)[-+.]\S*)-cloud-([a-z0-9]+)$`)

// newestPackage returns the package that holds the newest kernel image of a
// series ("" means of the highest series) for arch, out of the package names of
// one suite.
//
// Debian packages an image as linux-image-VERSION up to 6.18. From 6.19 on the
// image is in linux-binary-VERSION and linux-image-VERSION is an empty package
// that depends on it, so linux-binary is taken wherever both are there.
func newestPackage(names []string, version, arch string) (string, error) {
	type candidate struct {
		name    string
		kind    string
		version []int
	}
	var found []candidate
	for _, name := range names {
		m := kernelPackage.FindStringSubmatch(name)
		if m == nil || m[4] != arch || (version != "" && m[3] != version) {
			continue
		}
		found = append(found, candidate{name, m[1], numbers(m[2])})
	}
	if len(found) == 0 {
		if version == "" {
			version = "VERSION"
		}
		return "", fmt.Errorf("no package linux-image-%[1]s…-cloud-%[2]s or linux-binary-%[1]s…-cloud-%[2]s", version, arch)
	}
	best := slices.MaxFunc(found, func(a, b candidate) int {
		return cmp.Or(slices.Compare(a.version, b.version), cmp.Compare(rank(a.kind), rank(b.kind)))
	})
	return best.name, nil
}

func rank(kind string) int {
	if kind == "binary" {
		return 1
	}
	return 0
}

var digits = regexp.MustCompile(`\d+`)

// numbers returns the numbers in a kernel's version in their order, which compare
// as the versions do: 6.1.0-9 before 6.1.0-56, 6.12.115+deb13 before
// 6.12.115+deb13.1.
func numbers(version string) []int {
	var list []int
	for _, d := range digits.FindAllString(version, -1) {
		n, err := strconv.Atoi(d)
		if err != nil { // More digits than an int holds: no kernel's version.
			n = 0
		}
		list = append(list, n)
	}
	return list
}
