// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestCache(t *testing.T) {
	c := cache{t.TempDir()}
	store := func(content string) (record, error) {
		return c.store("6.1", record{Package: "linux-image-test", Version: "6.1.192-2"}, func(w io.Writer) (string, error) {
			_, err := io.WriteString(w, content)
			return "6.1.0-56-cloud-amd64", err
		})
	}
	t.Run("a kernel that was never stored is missing", func(t *testing.T) {
		if _, err := c.load("6.1"); !missing(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what is stored is loaded, with the checksum that sha256sum prints", func(t *testing.T) {
		stored, err := store("hello\n")
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := c.load("6.1")
		if err != nil || loaded != stored {
			t.Errorf("loaded %+v, %v; stored %+v", loaded, err, stored)
		}
		// echo hello | sha256sum
		if want := "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; loaded.SHA256 != want || loaded.Release != "6.1.0-56-cloud-amd64" {
			t.Errorf("record %+v, want the SHA-256 %s", loaded, want)
		}
	})
	t.Run("a failed fetch leaves the older kernel and nothing else", func(t *testing.T) {
		if _, err := c.store("6.1", record{}, func(w io.Writer) (string, error) { return "", errors.New("broken") }); err == nil {
			t.Fatal("no error")
		}
		if _, err := c.load("6.1"); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(c.dir); err != nil || len(entries) != 1 {
			t.Errorf("left %v, %v", entries, err)
		}
	})
	t.Run("a newer kernel takes the older one's place", func(t *testing.T) {
		if _, err := store("newer"); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(c.image("6.1")); err != nil || string(text) != "newer" {
			t.Errorf("image %q, %v", text, err)
		}
	})
	t.Run("an image that was changed is refused", func(t *testing.T) {
		if err := os.WriteFile(c.image("6.1"), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := c.load("6.1"); err == nil || missing(err) || !strings.Contains(err.Error(), "-refresh") {
			t.Errorf("got %v", err)
		}
	})
}
