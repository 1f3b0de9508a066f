// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Names of events in a stream.
const (
	// EventRequest is a Request.
	EventRequest = "request"
	// EventLost is a Loss.
	EventLost = "lost"
)

// Loss is how many requests a consumer has lost since the event before of its kind,
// because it was too slow.
type Loss struct {
	Lost uint64 `json:"lost"`
}

// Event is one of a stream of server-sent events (WHATWG HTML Standard, section 9.2).
type Event struct {
	Name string
	ID   string // "" for none
	Data []byte // JSON
}

// writeEvent writes an event. JSON has no line breaks, so its data is one line.
func writeEvent(out io.Writer, name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	_, err = fmt.Fprintf(out, "event: %s\n%sdata: %s\n\n", name, id, text)
	return err
}

// ReadEvents calls each with every event of a stream until the stream ends, reading
// fails or each does. The error is never nil: it is io.EOF for a stream that its server has ended.
func ReadEvents(stream io.Reader, each func(Event) error) error {
	lines := bufio.NewReader(stream)
	var event Event
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err // an event that is not complete is none
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if event.Data != nil {
				if err := each(event); err != nil {
					return err
				}
			}
			event = Event{}
			continue
		}
		field, value, _ := strings.Cut(string(line), ":") // a comment has an empty field
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			event.Name = value
		case "id":
			event.ID = value
		case "data":
			event.Data = []byte(value)
		}
	}
}
