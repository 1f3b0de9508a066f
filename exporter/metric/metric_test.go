// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// Types of map keys and values, as clang would describe them.
var (
	u8  = &btf.Int{Name: "unsigned char", Size: 1}
	u32 = &btf.Int{Name: "unsigned int", Size: 4}
	s32 = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u64 = &btf.Int{Name: "unsigned long long", Size: 8}
	s64 = &btf.Int{Name: "long long", Size: 8, Encoding: btf.Signed}
)

func array(of btf.Type, n uint32) *btf.Array { return &btf.Array{Index: u32, Type: of, Nelems: n} }

type member struct {
	name string
	t    btf.Type
}

// structure lays members out one behind the other, without padding.
func structure(members ...member) *btf.Struct {
	s := &btf.Struct{Name: "s"}
	for _, m := range members {
		size, err := btf.Sizeof(m.t)
		if err != nil {
			panic(err)
		}
		s.Members = append(s.Members, btf.Member{Name: m.name, Type: m.t, Offset: btf.Bits(8 * s.Size)})
		s.Size += uint32(size)
	}
	return s
}

func newMap(t testing.TB, kind ebpf.MapType, key, value btf.Type, entries uint32) *ebpf.Map {
	t.Helper()
	testenv.NeedRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err)
	}
	m, err := ebpf.NewMap(mapSpec(kind, key, value, entries))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func mapSpec(kind ebpf.MapType, key, value btf.Type, entries uint32) *ebpf.MapSpec {
	keySize, _ := btf.Sizeof(key)
	valueSize, _ := btf.Sizeof(value)
	return &ebpf.MapSpec{Name: "test", Type: kind, KeySize: uint32(keySize), ValueSize: uint32(valueSize), MaxEntries: entries}
}

// raw is the bytes of fixed-size values, one behind the other.
func raw(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, binary.NativeEndian, v); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func put(t testing.TB, m *ebpf.Map, key, value []byte) {
	t.Helper()
	if err := m.Put(key, value); err != nil {
		t.Fatal(err)
	}
}

// world is a Resolver that answers what a test wants.
type world struct {
	generation uint64
	questions  int               // to ServiceOfProcess
	names      map[uint32]string // service of a process
	dead       map[uint32]bool
	forgotten  map[string]bool // services that are not served any more
}

func newWorld() *world {
	return &world{names: map[uint32]string{}, dead: map[uint32]bool{}, forgotten: map[string]bool{}}
}

func (w *world) ServiceOfProcess(tgid, _ uint32) string {
	w.questions++
	return w.names[tgid]
}
func (w *world) ProcessAlive(tgid, _ uint32) bool    { return !w.dead[tgid] }
func (w *world) ServiceAlive(name string) bool       { return !w.forgotten[name] }
func (w *world) Generation() uint64                  { return w.generation }
func (w *world) ServiceOfListener(l Listener) string { return "owner of " + l.Address.String() }
func (w *world) ServiceOfLocalAddress(l Listener) (string, Listener, bool) {
	return "owner of port " + fmt.Sprint(l.Address.Port()), l, l.Address.Port() != 0
}
func (w *world) ListenerAlive(Listener) bool             { return true }
func (w *world) NetworkNamespace(inode uint32) string    { return fmt.Sprint(inode) }
func (w *world) Worker(tgid uint32, inode uint64) string { return fmt.Sprint(tgid, "/", inode) }
func (w *world) Route(_, _, path string, source RouteSource) string {
	return fmt.Sprint(source, " ", path)
}

func environment(w *world) Environment {
	return Environment{Resolver: w, Symbol: func(a uint64) string { return fmt.Sprintf("%#x", a) }}
}

func newTable(t testing.TB, source Source, w *world, layouts map[string]*histogram.Layout, definitions ...Definition) *Table {
	t.Helper()
	source.Name = "test"
	table, err := NewTable(source, definitions, layouts, environment(w), nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// scrape gathers a table as Prometheus would and returns its families.
func scrape(t testing.TB, table *Table) map[string]*dto.MetricFamily {
	t.Helper()
	gathered, err := checked(table).Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, family := range gathered {
		families[family.GetName()] = family
	}
	return families
}

// checked lets client_golang check what a table gathers, as a registry does:
// labels, types, and that no series comes twice.
func checked(table *Table) prometheus.Gatherer {
	return prometheus.Gatherers{prometheus.GathererFunc(table.Gather)}
}

// values maps the label values of each series, joined by commas in the order of
// the label names, to the number that it shows.
func values(family *dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for _, m := range family.GetMetric() {
		id := ""
		for i, pair := range m.Label {
			if i > 0 {
				id += ","
			}
			id += pair.GetValue()
		}
		switch {
		case m.Counter != nil:
			all[id] = m.Counter.GetValue()
		case m.Gauge != nil:
			all[id] = m.Gauge.GetValue()
		case m.Histogram != nil:
			all[id] = float64(m.Histogram.GetSampleCount())
		}
	}
	return all
}

// process labels a row by the service of the process in the key.
var process = Label{Name: "service", Decode: "service_of_process"}

// countEntries walks a map key by key.
func countEntries(m *ebpf.Map) (int, error) {
	var n int
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		n++
	}
	return n, entries.Err()
}
