// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// read finds what others' rules record, in expressions.
var read = regexp.MustCompile(`peer:[a-z0-9_:]+`)

// A misspelt name would read nothing, and cost nothing.
func TestRules_of_others_read_only_what_is_recorded_before_and_the_counters_of_one_SLO(t *testing.T) {
	var peers []ruleSet
	if err := yaml.Unmarshal(peersYAML, &peers); err != nil {
		t.Fatal(err)
	}
	for _, peer := range peers {
		var recorded []string
		for _, rule := range peer.Rules {
			for _, name := range read.FindAllString(rule.Expr, -1) {
				if !slices.Contains(recorded, name) {
					t.Errorf("%s: %q reads %s, which no rule before it records", peer.Name, rule.Expr, name)
				}
			}
			if strings.Count(rule.Expr, "{") != strings.Count(rule.Expr, "{$slo") {
				t.Errorf("%s: %q reads what is not of one SLO", peer.Name, rule.Expr)
			}
			if rule.Every <= 0 {
				t.Errorf("%s: %q has no interval", peer.Name, rule.Expr)
			}
			recorded = append(recorded, rule.Record)
		}
		for name := range peer.History {
			if !slices.Contains(recorded, name) {
				t.Errorf("%s: no rule records %s, of which there is a history", peer.Name, name)
			}
		}
		if peer.Shape == "" {
			t.Errorf("%s: where its rules come from is not told", peer.Name)
		}
	}
	// As many as the generators make of one SLO.
	if len(peers) != 2 || len(peers[0].Rules) != 17 || len(peers[1].Rules) != 13 {
		t.Errorf("there are rules of %d others", len(peers))
	}
}

func TestUncompressed_snappy_is_a_length_and_literals_of_at_most_64_KiB(t *testing.T) {
	data := []byte(strings.Repeat("x", 1<<16+3))
	block := uncompressedSnappy(data)
	// 65539 as a varint; then the tag 61 << 2, a length less 1 in two bytes, and as many bytes.
	want := slices.Concat([]byte{0x83, 0x80, 0x04, 0xf4, 0xff, 0xff}, data[:1<<16], []byte{0xf4, 0x02, 0x00}, data[1<<16:])
	if !slices.Equal(block, want) {
		t.Errorf("%d bytes became %x… of %d", len(data), block[:6], len(block))
	}
}
