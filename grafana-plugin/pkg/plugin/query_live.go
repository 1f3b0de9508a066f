// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// livePath begins the path of a channel of Grafana Live. What follows is the query itself, so that
// whichever server of Grafana is asked for the stream knows it.
const livePath = "live/"

// maxChannel is the longest path of a channel: Grafana allows 160 characters with what it puts
// in front ("1/ds/UID/").
const maxChannel = 110

// liveQuery is what a stream is about.
type liveQuery struct {
	Services []string `json:"s,omitempty"`
	Exporter string   `json:"e,omitempty"` // handle of its URL, which is long
}

// handle is a short name of an exporter, the same on every server of Grafana.
func handle(base string) string {
	sum := sha256.Sum256([]byte(base))
	return hex.EncodeToString(sum[:4])
}

// fetchLive tells Grafana which channel to subscribe to. Nothing is asked of exporters until then, except by the query that finds them.
func fetchLive(ctx context.Context, r *request) (data.Frames, error) {
	if _, err := r.exporterURLs(ctx, r.Exporter); err != nil {
		return nil, err
	}
	q := liveQuery{Services: r.Services}
	if r.Exporter != "" {
		q.Exporter = handle(r.Exporter)
	}
	path, err := q.path()
	if err != nil {
		return nil, errQuery{err}
	}
	frame := newSecond().frame()
	frame.Meta = &data.FrameMeta{Channel: "ds/" + r.uid + "/" + path}
	return data.Frames{frame}, nil
}

func (q liveQuery) path() (string, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return "", err
	}
	path := livePath + base64.RawURLEncoding.EncodeToString(text)
	if len(path) > maxChannel {
		return "", fmt.Errorf("these are too many services for a stream: choose fewer, or none for all")
	}
	return path, nil
}

// parsePath reads what path wrote.
func parsePath(path string) (q liveQuery, ok bool) {
	encoded, ok := strings.CutPrefix(path, livePath)
	if !ok {
		return q, false
	}
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	return q, err == nil && json.Unmarshal(text, &q) == nil
}
