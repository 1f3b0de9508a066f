// SPDX-License-Identifier: Apache-2.0

package gobuild

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPruning_removes_what_was_not_used_for_long_and_keeps_the_rest(t *testing.T) {
	cache := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"old": 8 * 24 * time.Hour, "used again": 8 * 24 * time.Hour, "new": time.Hour} {
		entry := filepath.Join(cache, name)
		if err := os.Mkdir(entry, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(entry, "program"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(entry, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if !hit(filepath.Join(cache, "used again", "program")) {
		t.Fatal("an executable that is there was missed")
	}
	if hit(filepath.Join(cache, "new", "another")) {
		t.Error("an executable that is not there was found")
	}
	if err := prune(cache, now.Add(-unusedFor)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"old": false, "used again": true, "new": true} {
		_, err := os.Stat(filepath.Join(cache, name, "program"))
		if got := err == nil; got != want {
			t.Errorf("entry %q kept: %t, want %t", name, got, want)
		}
	}
}
