// SPDX-License-Identifier: Apache-2.0

// Package hotspot tells where in their code requests burn CPU that are slow already: it
// empties the stacks that the kernel has sampled (bpf/hotspots.bpf.c), names their
// functions and lines, and keeps those of the last hour.
package hotspot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// stackKey is struct stack_key of bpf/hotspots.bpf.c.
type stackKey struct {
	PID, Executable    uint32
	Status             uint16
	Method, PathSource uint8
	Path               [127]byte
	_                  uint8
	_                  uint32
	Hash               uint64
}

// rawStack is struct stack of bpf/hotspots.bpf.c.
type rawStack struct {
	Count         uint64
	InKernel      uint64
	ReturnAddress uint64
	Addresses     [127]uint64 // the innermost first, 0 behind the last
}

func decode(key, value []byte) (k stackKey, s rawStack, err error) {
	if _, err = binary.Decode(key, binary.NativeEndian, &k); err == nil {
		_, err = binary.Decode(value, binary.NativeEndian, &s)
	}
	if err != nil {
		err = fmt.Errorf("decode a sampled stack: %w", err)
	}
	return k, s, err
}

// path is the pattern or the raw path of the request.
func (k *stackKey) path() string {
	text, _, _ := bytes.Cut(k.Path[:], []byte{0})
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
