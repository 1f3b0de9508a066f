// SPDX-License-Identifier: Apache-2.0

package promapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// testGrid is 1000, 1010, 1020 and 1030 seconds since 1970.
var testGrid = Grid{time.Unix(1000, 0).UTC(), 10 * time.Second, 4}

// answers are answers and what a reader of Prometheus's API documentation expects of
// them, with the grid above; nil for those that must be refused.
var answers = map[string]struct {
	body string
	want *Result
}{
	"a matrix": {`{"status":"success","data":{"resultType":"matrix","result":[
		{"metric":{"__name__":"up","job":"a"},"values":[[1000,"1"],[1010,"2.5"],[1020,"-3e2"],[1030,"0"]]}]}}`,
		&Result{Series: []Series{{data.Labels{"__name__": "up", "job": "a"}, []float64{1, 2.5, -300, 0}}}}},
	"resultType behind result, as some servers have it": {`{"data":{"result":[{"values":[[1000,"1"]],"metric":{}}],"resultType":"matrix"},"status":"success"}`,
		&Result{Series: []Series{{data.Labels{}, []float64{1, math.NaN(), math.NaN(), math.NaN()}}}}},
	"gaps, NaN and infinities": {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1010,"NaN"],[1020,"+Inf"],[1030,"-Inf"]]}]}}`,
		&Result{Series: []Series{{data.Labels{}, []float64{math.NaN(), math.NaN(), math.Inf(1), math.Inf(-1)}}}}},
	"times as floats": {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1000.000,"7"],[1.03e3,"8"]]}]}}`,
		&Result{Series: []Series{{data.Labels{}, []float64{7, math.NaN(), math.NaN(), 8}}}}},
	"native histograms": {`{"status":"success","data":{"resultType":"matrix","result":[
		{"metric":{"h":"only"},"histograms":[[1000,{"count":"5","sum":"1","buckets":[[0,"1","2","5"]]}]]},
		{"metric":{"h":"both"},"values":[[1000,"1"]],"histograms":[[1010,{"count":"5","sum":"1"}]]}]}}`,
		&Result{Series: []Series{{data.Labels{"h": "both"}, []float64{1, math.NaN(), math.NaN(), math.NaN()}}}, Histograms: 2}},
	"warnings and infos":  {`{"status":"success","warnings":["a"],"infos":["b","c"],"data":{"resultType":"matrix","result":[]}}`, &Result{Warnings: []string{"a"}, Infos: []string{"b", "c"}}},
	"nothing":             {`{"status":"success","data":{"resultType":"matrix","result":[]}}`, &Result{}},
	"null for nothing":    {`{"status":"success","warnings":null,"data":{"resultType":"matrix","result":null}}`, &Result{}},
	"unknown members":     {`{"status":"success","stats":{"a":[1,{"b":null},true,false,-0.5e-3]},"data":{"x":[],"resultType":"matrix","result":[{"metric":{},"y":{},"values":[]}]}}`, &Result{Series: []Series{{data.Labels{}, []float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}}}}},
	"escapes":             {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"p":"\"\\\/\u00e4\ud83d\ude00\n"},"values":[[1000,"\u0031"]]}]}}`, &Result{Series: []Series{{data.Labels{"p": "\"\\/ä😀\n"}, []float64{1, math.NaN(), math.NaN(), math.NaN()}}}}},
	"broken UTF-8":        {"{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"p\":\"a\xffb\"},\"values\":[]}]}}", &Result{Series: []Series{{data.Labels{"p": "a\ufffdb"}, []float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}}}}},
	"a vector":            {`{"status":"success","data":{"resultType":"vector","result":[]}}`, nil},
	"a time off the grid": {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1005,"1"]]}]}}`, nil},
	"a time before it":    {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[990,"1"]]}]}}`, nil},
	"a time behind it":    {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1040,"1"]]}]}}`, nil},
	"a time beyond int64": {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1e300,"1"]]}]}}`, nil},
	"an unquoted value":   {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1000,1]]}]}}`, nil},
	"a word for a value":  {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1000,"one"]]}]}}`, nil},
	"no status":           {`{"data":{"resultType":"matrix","result":[]}}`, nil},
	"no data":             {`{"status":"success"}`, nil},
	"null data":           {`{"status":"success","data":null}`, nil},
	"a member twice":      {`{"status":"success","data":{"resultType":"matrix","result":[],"result":[]}}`, nil},
	"a label twice":       {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1","a":"1"},"values":[]}]}}`, nil},
	"something behind it": {`{"status":"success","data":{"resultType":"matrix","result":[]}} x`, nil},
	"a trailing comma":    {`{"status":"success","data":{"resultType":"matrix","result":[],}}`, nil},
	"cut off":             {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1000,"1"]`, nil},
	"empty":               {``, nil},
	"a page":              {`<!DOCTYPE html><html>`, nil},
	"an error":            {`{"status":"error","errorType":"execution","error":"query processing would load too many samples"}`, nil},
	"a leading zero":      {`{"status":"success","x":01,"data":{"resultType":"matrix","result":[]}}`, nil},
	"a control character": {"{\"status\":\"success\",\"x\":\"\n\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}", nil},
	"too deep":            {`{"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `,"status":"success","data":{"resultType":"matrix","result":[]}}`, nil},
	"as deep as may be":   {`{"x":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `,"status":"success","data":{"resultType":"matrix","result":[]}}`, &Result{}},
}

func TestDecode_puts_the_values_of_an_answer_onto_the_grid_and_refuses_what_is_not_one(t *testing.T) {
	for name, a := range answers {
		// One byte at a time, every token is cut at each of its bytes.
		for how, in := range map[string]io.Reader{"whole": strings.NewReader(a.body), "byte by byte": iotest.OneByteReader(strings.NewReader(a.body)), "with its end": iotest.DataErrReader(strings.NewReader(a.body))} {
			got, err := decode(in, &testGrid)
			if a.want == nil && err == nil || a.want != nil && (err != nil || !equal(got, a.want)) {
				t.Errorf("%s, %s: got %+v, %v, want %+v", name, how, got, err, a.want)
			}
		}
	}
}

func TestDecode_of_an_instant_query_has_one_value_for_each_series(t *testing.T) {
	got, err := decode(strings.NewReader(`{"status":"success","data":{"resultType":"vector","result":[
		{"metric":{"a":"1"},"value":[1700000000.123,"4.5"]},{"metric":{"a":"2"},"value":[1700000000.123,"NaN"]},{"metric":{},"histogram":[1,{}]}]}}`), nil)
	want := &Result{Series: []Series{{data.Labels{"a": "1"}, []float64{4.5}}, {data.Labels{"a": "2"}, []float64{math.NaN()}}}, Histograms: 1}
	if err != nil || !equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := decode(strings.NewReader(answers["a matrix"].body), nil); err == nil {
		t.Error("a matrix is taken for the answer to an instant query")
	}
}

func TestDecode_says_what_the_server_says_and_where_an_answer_is_broken(t *testing.T) {
	_, err := decode(strings.NewReader(answers["an error"].body), &testGrid)
	var said *APIError
	if !errors.As(err, &said) || said.Type != "execution" || said.Message != "query processing would load too many samples" {
		t.Errorf("got %v", err)
	}
	if _, err := decode(strings.NewReader(answers["cut off"].body), &testGrid); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: got %v", err)
	}
	if _, err := decode(strings.NewReader(`{"status":x}`), &testGrid); err == nil || !strings.Contains(err.Error(), "byte 10: ") {
		t.Errorf("got %v, want the place, byte 10", err)
	}
	broken := errors.New("connection reset")
	if _, err := decode(io.MultiReader(strings.NewReader(`{"status":"succ`), iotest.ErrReader(broken)), &testGrid); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the stream", err)
	}
}

func TestDecode_holds_no_more_than_a_bounded_number_of_values(t *testing.T) {
	grid := Grid{time.Unix(0, 0), time.Second, MaxPoints}
	const fits = maxCells / MaxPoints
	for n, want := range map[int]error{fits: nil, fits + 1: ErrTooLarge} {
		body := `{"status":"success","data":{"resultType":"matrix","result":[` + strings.Repeat(`{"metric":{},"values":[]},`, n-1) + `{"metric":{},"values":[]}]}}`
		if _, err := decode(strings.NewReader(body), &grid); !errors.Is(err, want) {
			t.Errorf("%d series of %d points: got %v, want %v", n, MaxPoints, err, want)
		}
	}
	if _, err := decode(strings.NewReader(`{"x":"`+strings.Repeat("a", 4*maxToken)+`"}`), &grid); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless string: got %v", err)
	}
}

func FuzzDecode_equals_what_encoding_json_makes_of_any_input(f *testing.F) {
	for _, a := range answers {
		if len(a.body) < 10000 {
			f.Add([]byte(a.body), true)
			f.Add([]byte(strings.NewReplacer("matrix", "vector", "values", "value", "[[", "[", "]]}", "]}").Replace(a.body)), false)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, ranged bool) {
		grid := &testGrid
		if !ranged {
			grid = nil
		}
		got, err := decode(bytes.NewReader(body), grid)
		want, wantErr := reference(body, grid)
		if (err == nil) != (wantErr == nil) || err == nil && !equal(got, want) {
			t.Errorf("got %+v, %v\nwant %+v, %v", got, err, want, wantErr)
		}
		slow, slowErr := decode(iotest.OneByteReader(bytes.NewReader(body)), grid)
		if (err == nil) != (slowErr == nil) || err == nil && !equal(got, slow) {
			t.Errorf("got %+v, %v\nbyte by byte %+v, %v", got, err, slow, slowErr)
		}
	})
}

// equal compares bits, so that NaN equals NaN.
func equal(a, b *Result) bool {
	if len(a.Series) != len(b.Series) || a.Histograms != b.Histograms || !reflect.DeepEqual(a.Warnings, b.Warnings) || !reflect.DeepEqual(a.Infos, b.Infos) {
		return false
	}
	for i := range a.Series {
		x, y := a.Series[i], b.Series[i]
		if len(x.Labels) != len(y.Labels) || len(x.Labels) > 0 && !reflect.DeepEqual(x.Labels, y.Labels) || len(x.Values) != len(y.Values) {
			return false
		}
		for k := range x.Values {
			if x.Values[k] != y.Values[k] && !(math.IsNaN(x.Values[k]) && math.IsNaN(y.Values[k])) {
				return false
			}
		}
	}
	return true
}

// reference decodes an answer by encoding/json alone.
func reference(body []byte, grid *Grid) (result *Result, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			result, err = nil, errors.New(string(reason.(refused)))
		}
	}()
	if !json.Valid(body) {
		return nil, errors.New("invalid")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return answerOf(as[members](tree(d)), grid), nil
}

// members is an object with its members in order, those that come twice too.
type members []member

type member struct {
	key   string
	value any
}

// tree reads a value, which is known to be valid.
func tree(d *json.Decoder) any {
	token, _ := d.Token()
	switch token {
	case json.Delim('{'):
		object := members{}
		for d.More() {
			key, _ := d.Token()
			object = append(object, member{key.(string), tree(d)})
		}
		d.Token()
		return object
	case json.Delim('['):
		list := []any{}
		for d.More() {
			list = append(list, tree(d))
		}
		d.Token()
		return list
	}
	return token
}

// refused is panicked with where the reference finds something wrong.
type refused string

func (m members) known(names ...string) map[string]any {
	found := map[string]any{}
	for _, name := range names {
		for _, each := range m {
			if each.key == name {
				if _, twice := found[name]; twice {
					panic(refused("twice " + name))
				}
				found[name] = each.value
			}
		}
	}
	return found
}

func as[T any](value any) T {
	typed, ok := value.(T)
	if !ok {
		panic(refused(fmt.Sprintf("%T", value)))
	}
	return typed
}

func texts(value any) (all []string) {
	if value != nil {
		for _, each := range as[[]any](value) {
			all = append(all, as[string](each))
		}
	}
	return all
}

func float(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(refused(text))
	}
	return value
}

func answerOf(root members, grid *Grid) *Result {
	top := root.known("status", "data", "errorType", "error", "warnings", "infos")
	for _, name := range []string{"status", "errorType", "error"} {
		if value, there := top[name]; there {
			as[string](value)
		}
	}
	result := &Result{Warnings: texts(top["warnings"]), Infos: texts(top["infos"])}
	inner := as[members](top["data"]).known("resultType", "result")
	kind := as[string](inner["resultType"])
	if top["status"] != "success" || kind != map[bool]string{true: "matrix", false: "vector"}[grid != nil] {
		panic(refused("kind"))
	}
	if inner["result"] == nil {
		return result
	}
	for _, each := range as[[]any](inner["result"]) {
		result.add(as[members](each), grid)
	}
	return result
}

func (r *Result) add(series members, grid *Grid) {
	name := "values"
	if grid == nil {
		name = "value"
	}
	parts := series.known("metric", name)
	histograms := 0
	for _, each := range series {
		if each.key == "histogram" || each.key == "histograms" {
			histograms++
		}
	}
	if histograms > 1 {
		panic(refused("two histograms"))
	}
	r.Histograms += histograms
	s := Series{Labels: data.Labels{}}
	if metric, there := parts["metric"]; there {
		for _, label := range as[members](metric) {
			if _, twice := s.Labels[label.key]; twice {
				panic(refused(label.key))
			}
			s.Labels[label.key] = as[string](label.value)
		}
	}
	values, there := parts[name]
	if !there {
		return
	}
	if grid == nil {
		_, value := pair(values)
		s.Values = []float64{value}
	} else {
		for range grid.Times() {
			s.Values = append(s.Values, math.NaN())
		}
		for _, each := range as[[]any](values) {
			at, value := pair(each)
			found := false
			for i, point := range grid.Times() {
				if float64(point.UnixMilli()) == math.Round(at*1000) {
					s.Values[i], found = value, true
				}
			}
			if !found {
				panic(refused("off the grid"))
			}
		}
	}
	r.Series = append(r.Series, s)
}

func pair(value any) (at, sample float64) {
	both := as[[]any](value)
	if len(both) != 2 {
		panic(refused("no pair"))
	}
	return float(string(as[json.Number](both[0]))), float(as[string](both[1]))
}
