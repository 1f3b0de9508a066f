// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// sample is a value at a time of the series with these labels, __name__ among them.
type sample struct {
	at    time.Time
	value float64
}

// timeSeries are samples of one series, the oldest first.
type timeSeries struct {
	labels  map[string]string
	samples []sample
}

// remoteWrite sends samples to a Prometheus that takes them. Source: Prometheus Remote-Write Specification 1.0.
func remoteWrite(address string, all []timeSeries) error {
	var request []byte
	for _, series := range all {
		request = protowire.AppendTag(request, 1, protowire.BytesType)
		request = protowire.AppendBytes(request, series.message())
	}
	post, err := http.NewRequest(http.MethodPost, "http://"+address+"/api/v1/write", bytes.NewReader(uncompressedSnappy(request)))
	if err != nil {
		return err
	}
	post.Header.Set("Content-Encoding", "snappy")
	post.Header.Set("Content-Type", "application/x-protobuf")
	post.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("write samples: %s: %s", response.Status, answer)
	}
	return nil
}

// message is the message TimeSeries of the protocol.
func (s timeSeries) message() []byte {
	var message, part []byte
	for _, name := range slices.Sorted(maps.Keys(s.labels)) {
		part = protowire.AppendString(protowire.AppendTag(part[:0], 1, protowire.BytesType), name)
		part = protowire.AppendString(protowire.AppendTag(part, 2, protowire.BytesType), s.labels[name])
		message = protowire.AppendBytes(protowire.AppendTag(message, 1, protowire.BytesType), part)
	}
	for _, sample := range s.samples {
		part = protowire.AppendFixed64(protowire.AppendTag(part[:0], 1, protowire.Fixed64Type), math.Float64bits(sample.value))
		part = protowire.AppendVarint(protowire.AppendTag(part, 2, protowire.VarintType), uint64(sample.at.UnixMilli()))
		message = protowire.AppendBytes(protowire.AppendTag(message, 2, protowire.BytesType), part)
	}
	return message
}

// uncompressedSnappy writes bytes in the block format of snappy without compressing them: all are literals.
// Source: google/snappy, format_description.txt.
func uncompressedSnappy(data []byte) []byte {
	const longest = 1 << 16
	block := binary.AppendUvarint(nil, uint64(len(data)))
	for literal := range slices.Chunk(data, longest) {
		block = append(block, 61<<2) // a literal whose length, less 1, stands in two bytes
		block = binary.LittleEndian.AppendUint16(block, uint16(len(literal)-1))
		block = append(block, literal...)
	}
	return block
}
