// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/histogram"
)

func same(t *testing.T, what string, got, want map[string]float64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestTable_adds_up_the_rows_of_one_series(t *testing.T) {
	key := structure(member{"method", u32}, member{"detail", u32})
	m := newMap(t, ebpf.Hash, key, u64, 1000)
	for detail := range uint32(300) {
		put(t, m, raw(uint32(1), detail), raw(uint64(detail)))
		put(t, m, raw(uint32(2), detail), raw(uint64(1)))
	}
	table := newTable(t, Source{Map: m, Key: key, Value: u64}, newWorld(), nil,
		Definition{Name: "requests_total", Type: Counter, Labels: []Label{{Name: "method", From: "key.method"}}},
		Definition{Name: "everything_total", Type: Counter})
	families := scrape(t, table)
	same(t, "by method", values(families["tcpslo_requests_total"]), map[string]float64{"1": 299 * 300 / 2, "2": 300})
	same(t, "without labels", values(families["tcpslo_everything_total"]), map[string]float64{"": 299*300/2 + 300})
	if table.Entries() != 600 || table.Capacity() != 1000 {
		t.Errorf("the table tells of %d entries of %d, want 600 of 1000", table.Entries(), table.Capacity())
	}
}

// A sum of floats depends on their order, which is that of a hash table: one bit
// less than in the scrape before looks to Prometheus like a restart.
func TestTable_adds_up_integers_whatever_the_unit(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 4000)
	var sum uint64
	for key := range uint32(4000) {
		n := rand.Uint64N(1 << 40)
		sum += n
		put(t, m, raw(key), raw(n))
	}
	table := newTable(t, Source{Map: m, Key: u32, Value: u64}, newWorld(), nil,
		Definition{Name: "busy_seconds_total", Type: Counter, Stored: "nanoseconds"})
	same(t, "sum", values(scrape(t, table)["tcpslo_busy_seconds_total"]), map[string]float64{"": float64(sum) / 1e9})
}

func TestTable_reads_maps_with_a_value_for_each_CPU(t *testing.T) {
	for _, kind := range []ebpf.MapType{ebpf.PerCPUHash, ebpf.PerCPUArray} {
		m := newMap(t, kind, u32, u64, 2)
		want := map[string]float64{"0": 0, "1": 0}
		for key, name := range []string{"0", "1"} {
			var perCPU []uint64
			for cpu := range ebpf.MustPossibleCPU() {
				n := uint64(100*key + cpu + 1)
				perCPU = append(perCPU, n)
				want[name] += float64(n)
			}
			if err := m.Put(uint32(key), perCPU); err != nil {
				t.Fatal(err)
			}
		}
		table := newTable(t, Source{Map: m, Key: u32, Value: u64}, newWorld(), nil,
			Definition{Name: "events_total", Type: Counter, Labels: []Label{{Name: "slot"}}})
		same(t, kind.String(), values(scrape(t, table)["tcpslo_events_total"]), want)
	}
}

func TestTable_keeps_what_final_rows_counted_and_takes_them_from_the_map(t *testing.T) {
	value := structure(member{"drops", u64}, member{"closed", u64})
	m := newMap(t, ebpf.Hash, u32, value, 100)
	table := newTable(t, Source{Map: m, Key: u32, Value: value, Retire: "value.closed"}, newWorld(), nil,
		Definition{Name: "drops_total", Type: Counter, Value: "value.drops"},
		Definition{Name: "open", Type: Gauge, Aggregate: Count})
	put(t, m, raw(uint32(1)), raw(uint64(5), uint64(0)))
	put(t, m, raw(uint32(2)), raw(uint64(7), uint64(1))) // closed
	want := map[string]float64{"": 12}
	same(t, "first scrape", values(scrape(t, table)["tcpslo_drops_total"]), want)
	if n, err := countEntries(m); n != 1 || err != nil {
		t.Fatalf("the map has %d entries (%v), want the open one", n, err)
	}
	for range 2 {
		families := scrape(t, table)
		same(t, "later scrape", values(families["tcpslo_drops_total"]), want)
		same(t, "rows that are left", values(families["tcpslo_open"]), map[string]float64{"": 1})
	}
	put(t, m, raw(uint32(2)), raw(uint64(100), uint64(0))) // the number is used again
	same(t, "with a new row", values(scrape(t, table)["tcpslo_drops_total"]), map[string]float64{"": 112})
}

func TestTable_forgets_the_dead_but_not_what_they_counted(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 100)
	w := newWorld()
	w.names = map[uint32]string{10: "shop", 11: "shop", 12: "cart"}
	for tgid := range w.names {
		put(t, m, raw(tgid), raw(uint64(tgid)))
	}
	table := newTable(t, Source{Map: m, Key: u32, Value: u64}, w, nil,
		Definition{Name: "requests_total", Type: Counter, Labels: []Label{process}},
		Definition{Name: "processes", Type: Gauge, Aggregate: Count, Labels: []Label{process}})
	check := func(what string, total, gauge map[string]float64, rows int) {
		t.Helper()
		families := scrape(t, table)
		same(t, what, values(families["tcpslo_requests_total"]), total)
		same(t, what, values(families["tcpslo_processes"]), gauge)
		if n, err := countEntries(m); n != rows || err != nil {
			t.Errorf("%s: the map has %d entries (%v), want %d", what, n, err, rows)
		}
	}
	check("all alive", map[string]float64{"shop": 21, "cart": 12}, map[string]float64{"shop": 2, "cart": 1}, 3)
	w.dead[11], w.dead[12] = true, true
	check("two ended", map[string]float64{"shop": 21, "cart": 12}, map[string]float64{"shop": 1}, 1)
	check("and a scrape later", map[string]float64{"shop": 21, "cart": 12}, map[string]float64{"shop": 1}, 1)
	w.forgotten["cart"] = true
	check("one service is forgotten", map[string]float64{"shop": 21}, map[string]float64{"shop": 1}, 1)
	w.forgotten["cart"], w.dead[12] = false, false
	put(t, m, raw(uint32(12)), raw(uint64(3)))
	check("it comes back as a new one", map[string]float64{"shop": 21, "cart": 3}, map[string]float64{"shop": 1, "cart": 1}, 2)
}

func TestTable_puts_the_rows_of_a_gauge_together_as_asked(t *testing.T) {
	value := structure(member{"level", s32}, member{"started_at", u64}, member{"unused", u32})
	m := newMap(t, ebpf.Hash, u32, value, 10)
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		t.Fatal(err)
	}
	now := uint64(clock.Nano())
	for key, level := range []int32{-7, -3, -20} {
		put(t, m, raw(uint32(key)), raw(level, now-uint64(key+1)*uint64(time.Minute), uint32(0)))
	}
	put(t, m, raw(uint32(3)), raw(int32(-100), uint64(0), uint32(0)))
	table := newTable(t, Source{Map: m, Key: u32, Value: value}, newWorld(), nil,
		Definition{Name: "sum", Type: Gauge, Value: "value.level"},
		Definition{Name: "max", Type: Gauge, Value: "value.level", Aggregate: Max},
		Definition{Name: "rows", Type: Gauge, Aggregate: Count},
		Definition{Name: "started", Type: Gauge, Value: "value.started_at", Aggregate: Count},
		Definition{Name: "oldest_seconds", Type: Gauge, Value: "value.started_at", Aggregate: Age},
		Definition{Name: "spread", Type: Gauge, Values: &Values{Label: "what", Fields: map[string]string{"level": "value.level", "unused": "value.unused"}}})
	families := scrape(t, table)
	same(t, "sum", values(families["tcpslo_sum"]), map[string]float64{"": -130})
	same(t, "max", values(families["tcpslo_max"]), map[string]float64{"": -3})
	same(t, "count", values(families["tcpslo_rows"]), map[string]float64{"": 4})
	same(t, "count of those that have begun", values(families["tcpslo_started"]), map[string]float64{"": 3})
	same(t, "several fields", values(families["tcpslo_spread"]), map[string]float64{"level": -130, "unused": 0})
	if age := values(families["tcpslo_oldest_seconds"])[""]; age < 180 || age > 210 {
		t.Errorf("the oldest row is %v s old, want 3 minutes", age)
	}
}

func TestTable_makes_no_series_of_a_stage_that_was_never_seen(t *testing.T) {
	layout, err := histogram.NewLayout(histogram.Spec{Classic: []float64{1, 2}, UnitsPerOne: 1, MaxSlots: 4})
	if err != nil {
		t.Fatal(err)
	}
	stage := structure(member{"sum", u64}, member{"slots", array(u64, 4)})
	value := structure(member{"parse", stage}, member{"handler", stage})
	m := newMap(t, ebpf.Hash, u32, value, 10)
	stages := Definition{Name: "stage", Type: Histogram, Values: &Values{Label: "stage", Fields: map[string]string{"parse": "value.parse", "handler": "value.handler"}}}
	table := newTable(t, Source{Map: m, Key: u32, Value: value}, newWorld(), map[string]*histogram.Layout{"stage": layout}, stages)
	counts := func() map[string]float64 {
		all := map[string]float64{}
		if family := scrape(t, table)["tcpslo_stage"]; family != nil {
			for _, metric := range family.Metric {
				all[metric.Label[0].GetValue()] = float64(metric.Histogram.GetSampleCount())
			}
		}
		return all
	}
	none := [5]uint64{}
	put(t, m, raw(uint32(1)), raw(none, none))
	same(t, "nothing was seen", counts(), map[string]float64{})
	put(t, m, raw(uint32(1)), raw(none, [5]uint64{3, 1, 1}))
	same(t, "one stage was seen", counts(), map[string]float64{"handler": 2})
	// A value of 0 is one that was seen.
	put(t, m, raw(uint32(2)), raw([5]uint64{0, 1}, none))
	same(t, "both were seen", counts(), map[string]float64{"handler": 2, "parse": 1})
}

// What a row has counted stays in the metrics that it was in when the row has left the map.
func TestTable_leaves_out_rows_in_which_the_field_is_0_that_a_metric_asks_for(t *testing.T) {
	key := structure(member{"tgid", u32}, member{"gone", u32})
	m := newMap(t, ebpf.Hash, key, u64, 10)
	w := newWorld()
	w.names = map[uint32]string{1: "shop", 2: "cart"}
	put(t, m, raw(uint32(1), uint32(0)), raw(uint64(10)))
	put(t, m, raw(uint32(1), uint32(1)), raw(uint64(5)))
	put(t, m, raw(uint32(2), uint32(0)), raw(uint64(3)))
	table := newTable(t, Source{Map: m, Key: key, Value: u64}, w, nil,
		Definition{Name: "requests_total", Type: Counter, Labels: []Label{process}},
		Definition{Name: "aborted_requests_total", Type: Counter, Where: "key.gone", Labels: []Label{process}})
	for _, when := range []string{"at first", "again", "when the process has ended", "and a scrape later"} {
		families := scrape(t, table)
		same(t, "all requests "+when, values(families["tcpslo_requests_total"]), map[string]float64{"shop": 15, "cart": 3})
		same(t, "some requests "+when, values(families["tcpslo_aborted_requests_total"]), map[string]float64{"shop": 5})
		w.dead[1] = when != "at first"
	}
	if n, err := countEntries(m); n != 1 || err != nil {
		t.Errorf("the map has %d entries (%v), want 1", n, err)
	}
	for where, want := range map[string]string{
		"key.left": `metric "m": no such field: "key.left", there is: key, key.tgid, key.gone`,
		"key":      `metric "m": wrong size: "key" has 12 bytes and is no number`,
	} {
		wide := structure(member{"tgid", u32}, member{"gone", u32}, member{"unused", u32})
		if where == "key.left" {
			wide = key
		}
		_, err := NewTable(Source{Name: "m", Map: m, Key: wide, Value: u64}, []Definition{{Name: "m", Type: Counter, Where: where}}, nil, environment(w), nil)
		if err == nil || err.Error() != want {
			t.Errorf("where %s: got %v, want %s", where, err, want)
		}
	}
}

func TestTable_adds_what_found_no_room_in_the_map(t *testing.T) {
	m, overflow := newMap(t, ebpf.Hash, u32, u64, 10), newMap(t, ebpf.Hash, u32, u64, 1000)
	w := newWorld()
	w.names = map[uint32]string{1: "shop", 2: "cart"}
	put(t, m, raw(uint32(1)), raw(uint64(10)))
	put(t, overflow, raw(uint32(1)), raw(uint64(5)))
	put(t, overflow, raw(uint32(2)), raw(uint64(3)))
	table := newTable(t, Source{Map: m, Overflow: overflow, Key: u32, Value: u64}, w, nil,
		Definition{Name: "requests_total", Type: Counter, Labels: []Label{process}})
	want := map[string]float64{"shop": 15, "cart": 3}
	same(t, "both maps", values(scrape(t, table)["tcpslo_requests_total"]), want)
	w.dead[2] = true
	for range 2 {
		same(t, "after one has ended", values(scrape(t, table)["tcpslo_requests_total"]), want)
	}
	if n, err := countEntries(overflow); n != 1 || err != nil {
		t.Errorf("the overflow map has %d entries (%v), want 1", n, err)
	}

	_, err := NewTable(Source{Name: "m", Map: m, Overflow: newMap(t, ebpf.Hash, u64, u64, 10), Key: u32, Value: u64}, nil, nil, environment(w), nil)
	const refused = `overflow of map "m": wrong size: its keys and values must be of the same types`
	if err == nil || err.Error() != refused {
		t.Errorf("another type of key: got %v, want %s", err, refused)
	}
}

func TestTable_asks_for_labels_again_only_when_an_answer_may_have_changed(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 10)
	w := newWorld()
	w.names[1] = "shop"
	put(t, m, raw(uint32(1)), raw(uint64(1)))
	table := newTable(t, Source{Map: m, Key: u32, Value: u64}, w, nil,
		Definition{Name: "requests_total", Type: Counter, Labels: []Label{process}})
	for range 3 {
		same(t, "first name", values(scrape(t, table)["tcpslo_requests_total"]), map[string]float64{"shop": 1})
	}
	if w.questions != 1 {
		t.Errorf("asked %d times for one row in three scrapes, want once", w.questions)
	}
	w.names[1], w.generation = "checkout", 1
	same(t, "new name", values(scrape(t, table)["tcpslo_requests_total"]), map[string]float64{"checkout": 1})
	if w.questions != 2 {
		t.Errorf("asked %d times, want once more", w.questions)
	}
}

// Prometheus refuses a whole scrape for one label that is not UTF-8.
func TestTable_makes_every_label_UTF_8(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 10)
	w := newWorld()
	w.names[1] = "caf\xe9"
	put(t, m, raw(uint32(1)), raw(uint64(1)))
	table := newTable(t, Source{Map: m, Key: u32, Value: u64}, w, nil,
		Definition{Name: "requests_total", Type: Counter, Labels: []Label{process}})
	same(t, "name of a file in Latin 1", values(scrape(t, table)["tcpslo_requests_total"]), map[string]float64{"caf\uFFFD": 1})
}
