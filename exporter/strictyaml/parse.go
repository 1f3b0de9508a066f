// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxBytes bounds a file; the largest real configuration has some kilobytes.
const maxBytes = 4 << 20

// parse returns the root value of the single document in data, or nil if there is
// none.
func parse(file string, data []byte) (*yaml.Node, *Error) {
	documents, problem := parseAll(file, data, 2)
	switch {
	case problem != nil:
		return nil, problem
	case len(documents) == 0:
		return nil, nil
	case len(documents) > 1:
		return nil, &Error{file, documents[1].Line, documents[1].Column, "a second document starts here, only one is allowed"}
	}
	return documents[0].Content[0], nil
}

// parseAll returns the documents in data, no more of them than most.
func parseAll(file string, data []byte, most int) (documents []*yaml.Node, problem *Error) {
	if len(data) > maxBytes {
		return nil, &Error{file, 1, 1, fmt.Sprintf("file is larger than %d bytes", maxBytes)}
	}
	lines := &lineReader{rest: data}
	decoder := yaml.NewDecoder(lines)
	for len(documents) < most {
		document, err := next(decoder)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, syntaxError(file, data, lines.count, err)
		}
		documents = append(documents, document)
	}
	return documents, nil
}

// next reads one document. yaml.v3 has panicked on malformed input more than
// once, and a configuration file must not end the program.
func next(decoder *yaml.Decoder) (document *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: cannot be parsed: %v", r)
		}
	}()
	document = new(yaml.Node)
	if err := decoder.Decode(document); err != nil {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, io.EOF
	}
	return document, nil
}

// lineReader hands out one line at each call and counts them, which tells how far
// the parser had come when it gave up.
type lineReader struct {
	rest  []byte
	count int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	r.rest = r.rest[n:]
	if n == end {
		r.count++
	}
	return n, nil
}

var yamlPosition = regexp.MustCompile(`^yaml: (line \d+: )?`)

// syntaxError places an error of yaml.v3. The line in its message is of no use:
// sometimes it counts from 0, sometimes from 1, and often it is where the
// enclosing list or mapping starts. What a reader wants is the first line that
// cannot follow the lines above it, for an unclosed bracket the line that opens
// it; so take lines away from where the parser stopped until the rest parses.
func syntaxError(file string, data []byte, stopped int, cause error) *Error {
	const affordable = 16 << 20 // bytes to parse again, some 0.3 s
	lines := strings.SplitAfter(string(data), "\n")
	stopped = min(max(stopped, 1), len(lines))
	line, spent := stopped, 0
	for kept := stopped - 1; kept >= 0 && spent < affordable; kept-- {
		above := strings.Join(lines[:kept], "")
		if parses(above) {
			line = kept + 1
			break
		}
		spent += len(above)
	}
	for line < stopped && strings.TrimSpace(lines[line-1]) == "" {
		line++
	}
	text := lines[line-1]
	column := 1 + len(text) - len(strings.TrimLeft(text, " "))
	return &Error{file, line, column, yamlPosition.ReplaceAllString(cause.Error(), "")}
}

func parses(text string) bool {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := next(decoder); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
