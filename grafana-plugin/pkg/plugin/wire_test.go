// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/experimental/datasourcetest"
	"github.com/grafana/grafana-plugin-sdk-go/genproto/pluginv2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tcpslo/tcpslo/exporter/timeline"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

func TestQueries_resources_and_health_pass_through_gRPC_as_Grafana_asks_for_them(t *testing.T) {
	f := startFake(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	plugin, err := datasourcetest.Manage(New, datasourcetest.ManageOpts{Address: free.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer plugin.Shutdown()
	pluginContext := backend.PluginContext{DataSourceInstanceSettings: &backend.DataSourceInstanceSettings{UID: "uid", URL: f.URL, JSONData: []byte(`{}`)}}

	q := query("A", models.Query{QueryType: models.LatencyStages})
	f.tellAll(t, f.datasource(t, nil), q, canned[models.LatencyStages].answers)
	all, err := plugin.Client.QueryData(t.Context(), &backend.QueryDataRequest{PluginContext: pluginContext, Queries: []backend.DataQuery{q, query("B", models.Query{QueryType: "none"})}})
	if err != nil {
		t.Fatal(err)
	}
	if frames := all.Responses["A"].Frames; len(frames) != 1 || at(t, frames[0], "stage", "handler", 0) != 0.75 || at(t, frames[0], "stage", "handler", 1) != nil || at(t, frames[0], "stage", "accept_queue", 6) != 0.75 {
		t.Errorf("A: got %+v", all.Responses["A"])
	}
	if b := all.Responses["B"]; b.Error == nil || b.Status != 400 || b.ErrorSource != backend.ErrorSourceDownstream {
		t.Errorf("B: got %+v", b)
	}

	f.tell(`group by (service) (`+objectiveRatio+`)`, []promapi.Series{series([]string{"service", "b"}, 1), series([]string{"service", "a"}, 1)})
	var got *backend.CallResourceResponse
	err = plugin.Client.CallResource(t.Context(), &backend.CallResourceRequest{PluginContext: pluginContext, Method: http.MethodGet, Path: "services", URL: "services"},
		backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error { got = r; return nil }))
	if err != nil || got.Status != 200 || string(got.Body) != `["a","b"]` {
		t.Errorf("services: got %+v, %v", got, err)
	}

	health, err := plugin.Client.CheckHealth(t.Context(), &backend.CheckHealthRequest{PluginContext: pluginContext})
	if err != nil || health.Status != backend.HealthStatusError || !strings.Contains(health.Message, "Exporters: No series of tcpslo_exporter_build_info") {
		t.Errorf("health: got %+v, %v", health, err)
	}
}

// exporterStream is an exporter whose stream says what it is told.
type exporterStream struct {
	*httptest.Server
	say    chan string // what comes next; closing it ends the stream
	opened chan string // queries of streams
}

func startStream(t *testing.T) *exporterStream {
	e := &exporterStream{say: make(chan string), opened: make(chan string, 10)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		e.opened <- r.URL.RawQuery
		for {
			select {
			case text, more := <-e.say:
				if !more {
					return
				}
				io.WriteString(w, text)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func event(t *testing.T, r timeline.Request) string {
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return "event: request\nid: " + r.ID + "\ndata: " + string(text) + "\n\n"
}

// The binary itself, started as Grafana starts it: a cookie in the environment, the handshake of hashicorp/go-plugin on
// its output, gRPC on a socket.
func startBinary(t *testing.T) *grpc.ClientConn {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gpx_tcpslo_slo")
	build := exec.Command("go", "build", "-tags", "arrow_json_stdlib", "-o", binary, "github.com/tcpslo/tcpslo/grafana-plugin/pkg")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(binary).CombinedOutput(); err == nil || !strings.Contains(string(out), "This binary is a plugin") {
		t.Errorf("without Grafana it says %q, %v", out, err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "grafana_plugin_type=datasource", "PLUGIN_UNIX_SOCKET_DIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	// Core protocol 1, the plugin's 2: CORE|APP|NETWORK|ADDRESS|grpc|CERTIFICATE
	parts := strings.Split(strings.TrimSpace(line), "|")
	if err != nil || len(parts) < 5 || parts[0] != "1" || parts[1] != "2" || parts[2] != "unix" || parts[4] != "grpc" {
		t.Fatalf("the handshake is %q, %v", line, err)
	}
	connection, err := grpc.NewClient("unix:"+parts[3], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

func TestThe_binary_shakes_hands_and_streams_each_second_what_exporters_say(t *testing.T) {
	exporter := startStream(t)
	client := pluginv2.NewStreamClient(startBinary(t))
	settings, err := json.Marshal(map[string]any{"exporterUrls": []string{exporter.URL}})
	if err != nil {
		t.Fatal(err)
	}
	path, err := liveQuery{Services: []string{"checkout", "cart"}, Exporter: handle(exporter.URL)}.path()
	if err != nil {
		t.Fatal(err)
	}
	pluginContext := &pluginv2.PluginContext{PluginId: ID, OrgId: 1, DataSourceInstanceSettings: &pluginv2.DataSourceInstanceSettings{Id: 1, Uid: "uid", Url: "http://127.0.0.1:1", JsonData: settings}}
	subscribed, err := client.SubscribeStream(t.Context(), &pluginv2.SubscribeStreamRequest{PluginContext: pluginContext, Path: path})
	if err != nil || subscribed.Status != pluginv2.SubscribeStreamResponse_OK {
		t.Fatalf("got %v, %v", subscribed, err)
	}
	refused, err := client.SubscribeStream(t.Context(), &pluginv2.SubscribeStreamRequest{PluginContext: pluginContext, Path: "other"})
	if err != nil || refused.Status != pluginv2.SubscribeStreamResponse_NOT_FOUND {
		t.Errorf("another channel: got %v, %v", refused, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := client.RunStream(ctx, &pluginv2.RunStreamRequest{PluginContext: pluginContext, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-exporter.opened; got != "slow=true" {
		t.Errorf("the stream is asked for with %q", got)
	}
	go func() {
		exporter.say <- ": keep-alive\n\n"
		exporter.say <- event(t, timeline.Request{ID: "1", Service: "checkout", Status: "200", Duration: 300e6, Stages: []timeline.Stage{{Name: "handler", Duration: 300e6}}})
		exporter.say <- event(t, timeline.Request{ID: "2", Service: "cart", Status: "503", Duration: 700e6, Stages: []timeline.Stage{{Name: "accept_queue", Duration: 400e6}, {Name: "handler", Duration: 300e6}}})
		exporter.say <- event(t, timeline.Request{ID: "3", Service: "other", Status: "panic", Duration: 900e6})
		exporter.say <- "event: lost\ndata: {\"lost\":12}\n\n"
		close(exporter.say)
	}()
	sums := map[string]float64{}
	slowest, ended := 0.0, false
	for frames := 0; sums["lost"] == 0 || !ended; frames++ {
		packet, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var frame data.Frame
		if frames > 0 { // the first one has the schema, the others only rows
			packet.Data = append(append([]byte(`{"schema":`+schema(t)+`,"data":`), dataOf(t, packet.Data)...), '}')
		}
		if err := json.Unmarshal(packet.Data, &frame); err != nil {
			t.Fatalf("%v in %s", err, packet.Data)
		}
		if frame.Rows() != 1 || frames > 60 {
			t.Fatalf("frame %d has %d rows", frames, frame.Rows())
		}
		for _, name := range []string{"slow", "failed", "lost", "handler", "accept_queue", "ack"} {
			sums[name] += at(t, &frame, name, "", 0).(float64)
		}
		slowest = max(slowest, at(t, &frame, "slowest", "", 0).(float64))
		ended = sums["lost"] > 0 && at(t, &frame, "exporters", "", 0) == 0.0
	}
	for name, want := range map[string]float64{"slow": 2, "failed": 1, "lost": 12, "handler": 0.6, "accept_queue": 0.4, "ack": 0} {
		if sums[name] != want {
			t.Errorf("%s: got %g in all, want %g", name, sums[name], want)
		}
	}
	if slowest != 0.7 {
		t.Errorf("slowest: got %g, want 0.7", slowest)
	}
	<-exporter.opened // it is opened again
	cancel()
	if _, err := stream.Recv(); err == nil {
		for err == nil {
			_, err = stream.Recv() // what was on its way
		}
	}
}

// schema is what a frame of a stream has besides rows.
func schema(t *testing.T) string {
	text, err := data.FrameToJSON(newSecond().frame(), data.IncludeSchemaOnly)
	if err != nil {
		t.Fatal(err)
	}
	var parts struct{ Schema json.RawMessage }
	if err := json.Unmarshal(text, &parts); err != nil {
		t.Fatal(err)
	}
	return string(parts.Schema)
}

func dataOf(t *testing.T, packet []byte) []byte {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(packet, &parts); err != nil || len(parts) != 1 {
		t.Fatalf("a later packet has %s", packet)
	}
	return parts["data"]
}
