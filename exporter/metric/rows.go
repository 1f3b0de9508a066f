// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Rows reads a map once. visit gets numbers of each row, in the order of their paths, such
// as key.tgid or value.started_at; they are valid until it returns.
func Rows(m *ebpf.Map, key, value btf.Type, paths []string, visit func(numbers []uint64)) error {
	fields := make([]Field, len(paths))
	for i, path := range paths {
		root, t := "key", key
		if strings.HasPrefix(path, "value") {
			root, t = "value", value
		}
		var err error
		if fields[i], err = FindField(root, t, path); err != nil {
			return err
		}
	}
	r, err := newReader(m)
	if err != nil {
		return err
	}
	numbers := make([]uint64, len(paths))
	return r.read(m, func(key, value []byte) error {
		for i, f := range fields {
			raw := key
			if strings.HasPrefix(paths[i], "value") {
				raw = value
			}
			if raw = f.Bytes(raw); f.Signed() {
				numbers[i] = uint64(intOf(raw))
			} else {
				numbers[i] = uintOf(raw)
			}
		}
		visit(numbers)
		return nil
	})
}
