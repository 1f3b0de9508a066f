// SPDX-License-Identifier: Apache-2.0

package command

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

func TestRun_ends_its_streams_cleanly_when_a_signal_comes(t *testing.T) {
	none, systemd := "", false
	r := &Run{web: &web.FlagConfig{WebListenAddresses: &[]string{"127.0.0.1:0"}, WebSystemdSocket: &systemd, WebConfigFile: &none}}
	listening, ended := make(chan net.Addr, 1), make(chan error, 1)
	handler := exporterOf(t, timeline.NewStore(0), true)
	go func() {
		ended <- r.serve(handler, nil, slog.New(slog.DiscardHandler), func(address net.Addr, _ bool) { listening <- address })
	}()
	response, err := http.Get("http://" + (<-listening).String() + "/api/v1/requests/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream breaks off after %q: %v", text, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the exporter ends with %v", err)
	}
}
