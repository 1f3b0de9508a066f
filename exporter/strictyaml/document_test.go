// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"testing"
)

const placed = `metrics:
  - name: a
  - name: b
    labels:
      - {name: x, decode: y}
collectors: {skb: false, "dotted.name": true}
base: &base
  deep: 1
alias: *base
`

func TestErrorf_places_an_error_at_a_path_or_the_nearest_ancestor(t *testing.T) {
	var into any
	doc, err := Decode("f.yaml", []byte(placed), &into)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                                "f.yaml:1:1: wrong 7",
		"metrics":                         "f.yaml:2:3: wrong 7",
		"metrics:":                        "f.yaml:1:1: wrong 7",
		"metrics[1]":                      "f.yaml:3:5: wrong 7",
		"metrics[1].name":                 "f.yaml:3:11: wrong 7",
		"metrics[1].labels[0].decode":     "f.yaml:5:27: wrong 7",
		"metrics[1].labels[0].decode:":    "f.yaml:5:19: wrong 7",
		"metrics[1].labels[0].static.x":   "f.yaml:5:9: wrong 7",
		"metrics[1].labels[9].decode":     "f.yaml:5:7: wrong 7",
		"metrics[0].labels[0].decode":     "f.yaml:2:5: wrong 7",
		"metrics[x].name":                 "f.yaml:2:3: wrong 7",
		"metrics[-1]":                     "f.yaml:2:3: wrong 7",
		"nothing.at.all":                  "f.yaml:1:1: wrong 7",
		"collectors.skb":                  "f.yaml:6:19: wrong 7",
		"collectors.skb:":                 "f.yaml:6:14: wrong 7",
		`collectors."dotted.name"`:        "f.yaml:6:41: wrong 7",
		`collectors."dotted.name":`:       "f.yaml:6:26: wrong 7",
		"alias.deep":                      "f.yaml:8:9: wrong 7",
		"[":                               "f.yaml:1:1: wrong 7",
		"metrics[1].name.deeper[3].still": "f.yaml:3:11: wrong 7",
	} {
		if got := doc.Errorf(path, "wrong %d", 7).Error(); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

func TestReportf_adds_to_the_errors_of_decoding_but_not_about_refused_values(t *testing.T) {
	var into struct {
		Good inner `yaml:"good"`
		Bad  inner `yaml:"bad"`
	}
	doc, err := Decode("f.yaml", []byte("bad: {key: a, value: x}\ngood: {key: b, value: 1}\n"), &into)
	if err == nil {
		t.Fatal("no error")
	}
	doc.Reportf("bad.value", "must be positive")
	doc.Reportf("bad", "must be different")
	doc.Reportf("bad.key", "is taken")
	doc.Reportf("good.value", "must be positive")
	want := `f.yaml:1:12: is taken
f.yaml:1:22: "value" must be an integer, got string "x"
f.yaml:2:23: must be positive`
	if err := doc.Err(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestErr_is_nil_when_nothing_is_wrong(t *testing.T) {
	var into inner
	doc, err := Decode("f.yaml", []byte("key: a"), &into)
	if err != nil || doc.Err() != nil {
		t.Errorf("got %v and %v", err, doc.Err())
	}
}

func TestNode_may_be_decoded_later(t *testing.T) {
	var into map[string]keeper
	if _, err := Decode("f.yaml", []byte("a: {key: x, value: y}\nb: [1, 2]\nc: text"), &into); err != nil {
		t.Fatal(err)
	}
	err := into["a"].Decode(new(inner))
	if want := `f.yaml:1:20: "value" must be an integer, got string "y"`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	entries, err := into["a"].Entries()
	if err != nil || len(entries) != 2 || entries[1].Key.Text() != "value" || entries[1].Value.Text() != "y" || entries[1].Value.Name() != "value" {
		t.Errorf("entries %v, %v", entries, err)
	}
	if items := into["b"].Items(); len(items) != 2 || items[1].Text() != "2" || items[1].Name() != "b[1]" {
		t.Errorf("items %v", items)
	}
	for key, want := range map[string]Kind{"a": Mapping, "b": List, "c": Scalar} {
		if got := into[key].Kind(); got != want {
			t.Errorf("%s is of kind %d, want %d", key, got, want)
		}
	}
	if into["c"].Items() != nil || into["a"].Text() != "" {
		t.Error("a word has elements, or a mapping has text")
	}
	if entries, err := into["c"].Entries(); entries != nil || err != nil {
		t.Errorf("a word has entries: %v, %v", entries, err)
	}
}

func TestDocuments_are_decoded_one_by_one_with_their_places(t *testing.T) {
	roots, err := Documents("f.yaml", []byte("# none\n---\na: 1\n---\n---\n# none either\n---\na: 2\nb: x\n"))
	if err != nil || len(roots) != 2 {
		t.Fatalf("%d documents, %v", len(roots), err)
	}
	for i, want := range []string{"f.yaml:3:4: 1", "f.yaml:8:4: 2"} {
		if got := roots[i].At("a"); got.Errorf("%s", got.Text()).Error() != want {
			t.Errorf("document %d: %v, want %s", i, got.Errorf("%s", got.Text()), want)
		}
	}
	if _, err := Documents("f.yaml", []byte("a: 1\n---\nb: [")); err == nil || err.Error() != "f.yaml:3:1: did not find expected node content" {
		t.Errorf("a broken one: %v", err)
	}
}

// keeper keeps its node for later.
type keeper struct{ *Node }

func (k *keeper) UnmarshalNode(n *Node) error {
	k.Node = n
	return nil
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		placed, "", "a: &a [*a]", "name: [", "- a\n- b", "? [a]\n: b", "free: {<<: [*x]}", "%YAML 1.2\n---\na", "!!int x",
		"a: |\n  b\n c", "\xff\xfe", "a: 1\n---\nb: 2", "free: !!binary x", "window: 1d", "\"\\u", "a:\n\t- b", "list: [{<<: {key: a}}]",
	} {
		f.Add([]byte(seed), "free.a[0].b:")
	}
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		var typed everything
		doc, err := Decode("f.yaml", data, &typed)
		if (err == nil) != (doc.Err() == nil) {
			t.Fatalf("Decode says %v, Err says %v", err, doc.Err())
		}
		if e := doc.Errorf(path, "x"); e.Line < 1 || e.Column < 1 {
			t.Fatalf("error without a place: %v", e)
		}
		if err != nil {
			for _, e := range err.(Errors) {
				if e.Line < 1 || e.Column < 1 || e.Message == "" {
					t.Fatalf("error without a place or reason: %#v", e)
				}
			}
		}
		var free any
		_, _ = Decode("f.yaml", data, &free)
	})
}
