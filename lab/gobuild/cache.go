// SPDX-License-Identifier: Apache-2.0

package gobuild

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unusedFor is how long an executable stays in the cache after its last use. Every
// change of the source leaves dozens of them behind, of some 8 MB each.
const unusedFor = 7 * 24 * time.Hour

// A source is the content of the files of a module by their names.
type source map[string][]byte

func readSource(dir string) (source, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	s := source{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if s[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	if len(s) == 0 {
		return nil, fmt.Errorf("no Go files in %q", dir)
	}
	return s, nil
}

// openEntry makes sure that the directory for the result of these inputs exists.
func openEntry(s source, version, goarch string, flags []string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	// JSON sorts the map's keys and keeps the fields apart.
	inputs, err := json.Marshal([]any{s, version, goarch, flags})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(inputs)
	entry := filepath.Join(cache, hex.EncodeToString(sum[:12]))
	return entry, os.MkdirAll(entry, 0o755)
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(base, "tcpslo", "gobuild"), nil
}

// hit tells whether the executable is there, and if so notes that it is in use.
func hit(binary string) bool {
	now := time.Now()
	return os.Chtimes(filepath.Dir(binary), now, now) == nil && os.Chtimes(binary, now, now) == nil
}

// keep moves the executable into the cache. It is copied beside its place first, as
// the temporary directory may be another file system, and renamed then; when
// two processes build the same, the second replaces the first's by its equal.
func keep(built, binary string) error {
	content, err := os.ReadFile(built)
	if err != nil {
		return err
	}
	partial, err := os.CreateTemp(filepath.Dir(binary), "partial-")
	if err != nil {
		return err
	}
	defer os.Remove(partial.Name()) // has no effect once it is renamed
	_, err = partial.Write(content)
	if err := errors.Join(err, partial.Chmod(0o755), partial.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial.Name(), binary); err != nil {
		return err
	}
	return prune(filepath.Dir(filepath.Dir(binary)), time.Now().Add(-unusedFor))
}

// prune removes entries not used since the given time.
func prune(cache string, since time.Time) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // another process pruned it
		}
		if err != nil {
			return err
		}
		if info.ModTime().Before(since) {
			if err := os.RemoveAll(filepath.Join(cache, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
