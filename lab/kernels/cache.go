// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// record says where a cached kernel came from. It lies beside the image as
// kernel.json, because Debian deletes a point version once the next one is out:
// the record is what a failure can be traced with later.
type record struct {
	Release string    `json:"release"` // as uname -r prints it
	Package string    `json:"package"`
	Version string    `json:"version"` // of the Debian package
	Suite   string    `json:"suite"`
	Arch    string    `json:"arch"`
	SHA256  string    `json:"sha256"` // of vmlinuz
	Fetched time.Time `json:"fetched"`
}

// cache is the folder that holds one folder, vmlinuz and kernel.json, for each
// kernel.
type cache struct {
	dir string
}

// cacheEnv is the environment variable that says where the cache is.
const cacheEnv = "TCPSLO_KERNEL_CACHE"

// defaultCacheDir returns the folder that cacheEnv names, else tcpslo/kernels in
// the user's cache folder. It is outside the repository so that a fresh clone
// need not fetch again.
func defaultCacheDir() (string, error) {
	if dir := os.Getenv(cacheEnv); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choose a kernel cache (set %s or -cache): %w", cacheEnv, err)
	}
	return filepath.Join(dir, "tcpslo", "kernels"), nil
}

func (c cache) image(name string) string {
	return filepath.Join(c.dir, name, "vmlinuz")
}

// load returns the record of a cached kernel after it has checked the image
// against it. The error is fs.ErrNotExist if the kernel is not cached.
func (c cache) load(name string) (record, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, name, "kernel.json"))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("read the record of kernel %q: %w", name, err)
	}
	image, err := os.Open(c.image(name))
	if err != nil {
		return record{}, err
	}
	defer image.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, image); err != nil {
		return record{}, fmt.Errorf("read kernel %q: %w", name, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != r.SHA256 {
		return record{}, fmt.Errorf("kernel %q has SHA-256 %s, its record says %s: fetch it again with -refresh", name, got, r.SHA256)
	}
	return r, nil
}

// store puts a kernel into the cache in the place of an older one. extract writes
// the image and returns the kernel's release.
func (c cache) store(name string, r record, extract func(io.Writer) (release string, err error)) (record, error) {
	dir, err := os.MkdirTemp(c.dir, ".new-")
	if err != nil {
		return record{}, err
	}
	defer os.RemoveAll(dir)
	image, err := os.Create(filepath.Join(dir, "vmlinuz"))
	if err != nil {
		return record{}, err
	}
	defer image.Close()
	sum := sha256.New()
	if r.Release, err = extract(io.MultiWriter(image, sum)); err != nil {
		return record{}, err
	}
	if err := image.Close(); err != nil {
		return record{}, err
	}
	r.SHA256 = hex.EncodeToString(sum.Sum(nil))
	r.Fetched = time.Now().UTC().Truncate(time.Second)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return record{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), append(text, '\n'), 0o644); err != nil {
		return record{}, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // MkdirTemp makes it 0700.
		return record{}, err
	}
	// A folder can only be renamed over an empty one. The lock keeps other fetches
	// out; a run that comes in between finds no kernel and says so.
	if err := os.RemoveAll(filepath.Join(c.dir, name)); err != nil {
		return record{}, err
	}
	return r, os.Rename(dir, filepath.Join(c.dir, name))
}

// lock makes the cache's folder and keeps other fetches out of it until unlock is
// called or the process ends.
func (c cache) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(c.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock the kernel cache %q: %w", c.dir, err)
		}
	}
}

// missing reports whether err says that a kernel is not cached.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
