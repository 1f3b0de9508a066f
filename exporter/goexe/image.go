// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

const (
	// pageSize and pageCount bound what is kept of the file: 64 pages of 16 KiB.
	pageSize  = 16 << 10
	pageCount = 64
	// searchChunk is what a search through the file reads at a time, in bytes.
	searchChunk = 256 << 10
)

// image is the executable as the kernel would lay it out in memory, with its
// words as the dynamic linker would relocate them at load bias zero.
type image struct {
	reader    io.ReaderAt
	machine   elf.Machine
	arch      *architecture // nil if unsupported
	entry     uint64        // where execution begins
	segments  []segment     // by address
	sections  map[string]uint64
	dynamic   segment       // PT_DYNAMIC; size 0 if there is none
	relocated *[]relocation // nil until they are read
	pages     [pageCount]page
}

// segment is the part of a loadable segment that comes from the file.
type segment struct {
	address, size uint64
	offset        uint64 // in the file
	executable    bool
	writable      bool
}

type page struct {
	number int64 // offset in the file / pageSize
	data   []byte
}

// errUnmapped is returned for an address that no part of the file is loaded at.
// In a whole executable it means that a table is misread or corrupt.
var errUnmapped = errors.New("address outside of the file's segments")

func newImage(r io.ReaderAt, size int64) (*image, error) {
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := r.ReadAt(magic, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read ELF header: %w", err)
	}
	if string(magic) != elf.ELFMAG {
		return nil, fmt.Errorf("%w: not an ELF file", ErrNotGo)
	}
	file, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("truncated: ELF headers: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("ELF headers: %w", err)
	}
	img := &image{reader: r, machine: file.Machine, entry: file.Entry, sections: map[string]uint64{}}
	if file.Class == elf.ELFCLASS64 && file.ByteOrder == binary.LittleEndian {
		img.arch = architectures[file.Machine]
	}
	for _, p := range file.Progs {
		s := segment{
			address:    p.Vaddr,
			size:       p.Filesz,
			offset:     p.Off,
			executable: p.Flags&elf.PF_X != 0,
			writable:   p.Flags&elf.PF_W != 0,
		}
		if p.Type != elf.PT_LOAD && p.Type != elf.PT_DYNAMIC {
			continue
		}
		if s.offset > uint64(size) || s.size > uint64(size)-s.offset {
			return nil, fmt.Errorf("truncated: segment at %#x needs %d bytes from offset %d, the file has %d", s.address, s.size, s.offset, size)
		}
		if s.address+s.size < s.address {
			return nil, fmt.Errorf("corrupt: segment at %#x of %d bytes wraps around", s.address, s.size)
		}
		if p.Type == elf.PT_LOAD {
			img.segments = append(img.segments, s)
		} else {
			img.dynamic = s
		}
	}
	sort.Slice(img.segments, func(i, j int) bool { return img.segments[i].address < img.segments[j].address })
	for _, s := range file.Sections {
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_ALLOC != 0 {
			img.sections[s.Name] = s.Addr
		}
	}
	return img, nil
}

// segmentOf is the segment that holds n bytes from address on.
func (img *image) segmentOf(address, n uint64) (segment, error) {
	i := sort.Search(len(img.segments), func(i int) bool { return img.segments[i].address > address }) - 1
	if i >= 0 {
		s := img.segments[i]
		if at := address - s.address; at <= s.size && n <= s.size-at {
			return s, nil
		}
	}
	return segment{}, fmt.Errorf("%w: %d bytes at %#x", errUnmapped, n, address)
}

func (img *image) contains(address, n uint64) bool {
	_, err := img.segmentOf(address, n)
	return err == nil
}

// fileOffset is where in the file the byte at address comes from.
func (img *image) fileOffset(address uint64) (uint64, error) {
	s, err := img.segmentOf(address, 1)
	if err != nil {
		return 0, err
	}
	return address - s.address + s.offset, nil
}

// read fills b with the bytes at address, as the file has them.
func (img *image) read(address uint64, b []byte) error {
	s, err := img.segmentOf(address, uint64(len(b)))
	if err != nil {
		return err
	}
	offset := int64(address - s.address + s.offset)
	for len(b) > 0 {
		data, err := img.page(offset / pageSize)
		if err != nil {
			return err
		}
		at := int(offset % pageSize)
		if at >= len(data) {
			return fmt.Errorf("read at file offset %d: %w", offset, io.ErrUnexpectedEOF)
		}
		n := copy(b, data[at:])
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}

// page gives a page of the file, short if the file ends in it. The result is
// good until the next call.
func (img *image) page(number int64) ([]byte, error) {
	p := &img.pages[number%pageCount]
	if p.data != nil && p.number == number {
		return p.data, nil
	}
	if p.data == nil {
		p.data = make([]byte, pageSize)
	}
	data := p.data[:pageSize]
	n, err := img.reader.ReadAt(data, number*pageSize)
	if err != nil && err != io.EOF {
		p.data = nil
		return nil, err
	}
	p.number, p.data = number, data[:n]
	return p.data, nil
}

func (img *image) bytes(address, n uint64) ([]byte, error) {
	if !img.contains(address, n) { // before the allocation, which n bounds
		return nil, fmt.Errorf("%w: %d bytes at %#x", errUnmapped, n, address)
	}
	b := make([]byte, n)
	return b, img.read(address, b)
}

func (img *image) uint8(address uint64) (uint8, error) {
	var b [1]byte
	err := img.read(address, b[:])
	return b[0], err
}

func (img *image) uint16(address uint64) (uint16, error) {
	var b [2]byte
	err := img.read(address, b[:])
	return binary.LittleEndian.Uint16(b[:]), err
}

func (img *image) uint32(address uint64) (uint32, error) {
	var b [4]byte
	err := img.read(address, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (img *image) uint64(address uint64) (uint64, error) {
	var b [8]byte
	err := img.read(address, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

// uvarint reads an unsigned varint (encoding/binary) and tells how long it is.
func (img *image) uvarint(address uint64) (value, length uint64, err error) {
	for shift := 0; shift < 64; shift += 7 {
		b, err := img.uint8(address + length)
		if err != nil {
			return 0, 0, err
		}
		length++
		value |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return value, length, nil
		}
	}
	return 0, 0, fmt.Errorf("varint at %#x is too long", address)
}

// span is a Go slice or string header: n elements, or bytes, at address.
type span struct{ address, n uint64 }

// span reads a slice header and checks that its n elements of the given size in
// bytes are in the file.
func (img *image) span(address, size uint64) (span, error) {
	at, err := img.pointer(address)
	if err != nil {
		return span{}, err
	}
	n, err := img.uint64(address + 8)
	if err != nil {
		return span{}, err
	}
	if n == 0 {
		return span{}, nil
	}
	if n > 1<<32 || !img.contains(at, n*size) {
		return span{}, fmt.Errorf("slice at %#x: %w: %d × %d bytes at %#x", address, errUnmapped, n, size, at)
	}
	return span{at, n}, nil
}

// search calls found with the address of each occurrence of pattern in the n
// bytes at address, ascending, until found returns false.
func (img *image) search(address, n uint64, pattern []byte, found func(uint64) bool) error {
	s, err := img.segmentOf(address, n)
	if err != nil {
		return err
	}
	if n < uint64(len(pattern)) {
		return nil
	}
	buf := make([]byte, min(n, searchChunk))
	overlap := uint64(len(pattern) - 1)
	for end := address + n; address+overlap < end; address += uint64(len(buf)) - overlap {
		buf = buf[:min(uint64(len(buf)), end-address)]
		if _, err := img.reader.ReadAt(buf, int64(address-s.address+s.offset)); err != nil {
			return fmt.Errorf("read at file offset %d: %w", address-s.address+s.offset, err)
		}
		for at := 0; ; at++ {
			i := bytes.Index(buf[at:], pattern)
			if i < 0 {
				break
			}
			at += i
			if !found(address + uint64(at)) {
				return nil
			}
		}
	}
	return nil
}
