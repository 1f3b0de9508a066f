// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"

	"github.com/tcpslo/tcpslo/lab/kernels/internal/guest"
)

// outcomeReader takes what comes out of a machine's result port: it passes the
// test's output on and keeps the outcome that follows it.
type outcomeReader struct {
	out    io.Writer
	record []byte // from the last mark on
}

func newOutcomeReader(out io.Writer) *outcomeReader { return &outcomeReader{out: out} }

// Write implements io.Writer. A test may print the mark too, so what was held
// back is passed on as soon as another mark follows.
func (o *outcomeReader) Write(p []byte) (int, error) {
	rest := p
	if o.record == nil {
		mark := bytes.IndexByte(rest, guest.OutcomeMark)
		if mark < 0 {
			return o.out.Write(p)
		}
		if _, err := o.out.Write(rest[:mark]); err != nil {
			return 0, err
		}
		rest = rest[mark:]
	}
	o.record = append(o.record, rest...)
	last := bytes.LastIndexByte(o.record, guest.OutcomeMark)
	if _, err := o.out.Write(o.record[:last]); err != nil {
		return 0, err
	}
	o.record = o.record[last:]
	return len(p), nil
}

// outcome returns the outcome, or false if none or only a part of one came.
func (o *outcomeReader) outcome() (guest.Outcome, bool) {
	var outcome guest.Outcome
	if len(o.record) == 0 || json.Unmarshal(o.record[1:], &outcome) != nil {
		return guest.Outcome{}, false
	}
	return outcome, true
}

// lineWriter writes whole lines with a prefix, so that the output of machines
// that run side by side stays readable. All that share out share lock.
type lineWriter struct {
	lock   *sync.Mutex
	out    io.Writer
	prefix string
	line   []byte // begun, not ended
}

// Write implements io.Writer.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.line = append(l.line, p...)
	end := bytes.LastIndexByte(l.line, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	if err := l.emit(l.line[:end]); err != nil {
		return 0, err
	}
	l.line = append([]byte(nil), l.line[end:]...)
	return len(p), nil
}

// close writes a last line that has no line feed.
func (l *lineWriter) close() error {
	if len(l.line) == 0 {
		return nil
	}
	return l.emit(append(l.line, '\n'))
}

func (l *lineWriter) emit(lines []byte) error {
	var text bytes.Buffer
	for line := range bytes.Lines(lines) {
		text.WriteString(l.prefix)
		text.Write(line)
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	_, err := l.out.Write(text.Bytes())
	return err
}
