// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEvents_are_read_as_they_were_written(t *testing.T) {
	var stream strings.Builder
	stream.WriteString(": keep-alive\n\n")
	if err := writeEvent(&stream, EventRequest, "00f3", map[string]string{"path": "/a\nevent: lost\n\n: b"}); err != nil {
		t.Fatal(err)
	}
	if err := writeEvent(&stream, EventLost, "", Loss{Lost: 12}); err != nil {
		t.Fatal(err)
	}
	const written = ": keep-alive\n\nevent: request\nid: 00f3\ndata: {\"path\":\"/a\\nevent: lost\\n\\n: b\"}\n\nevent: lost\ndata: {\"lost\":12}\n\n"
	if stream.String() != written {
		t.Errorf("got\n%q\nwant\n%q", stream.String(), written)
	}
	want := []Event{{EventRequest, "00f3", []byte(`{"path":"/a\nevent: lost\n\n: b"}`)}, {EventLost, "", []byte(`{"lost":12}`)}}
	for name, text := range map[string]string{
		"as written":             written,
		"with carriage returns":  strings.ReplaceAll(written, "\n", "\r\n"),
		"without spaces":         strings.NewReplacer("\nevent: ", "\nevent:", "\ndata: ", "\ndata:", "\nid: ", "\nid:").Replace(written),
		"with an event cut off":  written + "event: lost\ndata: {}\n",
		"with fields of no kind": "retry: 3\nhello\n\n" + written,
	} {
		var got []Event
		err := ReadEvents(iotest.OneByteReader(strings.NewReader(text)), func(e Event) error { got = append(got, e); return nil })
		if !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, got\n%q\nwant\n%q", name, err, got, want)
		}
	}
}

func TestEvents_end_with_the_error_of_who_reads_them(t *testing.T) {
	enough := errors.New("enough")
	n := 0
	err := ReadEvents(strings.NewReader("data: 1\n\ndata: 2\n\n"), func(Event) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d events, want %v after 1", err, n, enough)
	}
	if err := ReadEvents(iotest.ErrReader(enough), nil); !errors.Is(err, enough) {
		t.Errorf("%v, want %v", err, enough)
	}
}
