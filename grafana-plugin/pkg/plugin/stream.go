// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// SubscribeStream lets everybody who may query the datasource have its streams.
func (d *Datasource) SubscribeStream(_ context.Context, r *backend.SubscribeStreamRequest) (*backend.SubscribeStreamResponse, error) {
	if _, ok := parsePath(r.Path); !ok {
		return &backend.SubscribeStreamResponse{Status: backend.SubscribeStreamStatusNotFound}, nil
	}
	return &backend.SubscribeStreamResponse{Status: backend.SubscribeStreamStatusOK}, nil
}

// PublishStream refuses: nobody but the exporters has something to say.
func (d *Datasource) PublishStream(context.Context, *backend.PublishStreamRequest) (*backend.PublishStreamResponse, error) {
	return &backend.PublishStreamResponse{Status: backend.PublishStreamStatusPermissionDenied}, nil
}

// RunStream sends a frame of one row each second, until nobody is subscribed: what the exporters said of slow requests
// in that second. It holds a sum for each stage and nothing else, however many requests there are.
func (d *Datasource) RunStream(ctx context.Context, r *backend.RunStreamRequest, sender *backend.StreamSender) error {
	q, ok := parsePath(r.Path)
	if !ok {
		return fmt.Errorf("channel %q is not known", r.Path)
	}
	urls, err := d.liveURLs(ctx, q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	live := &live{query: q, lost: map[string]error{}, sums: newSecond()}
	var readers sync.WaitGroup
	for _, base := range urls {
		live.lost[base] = fmt.Errorf("exporter %s: %w", redacted(base), errConnecting)
	}
	for _, base := range urls {
		readers.Go(func() { live.follow(ctx, d, base) })
	}
	defer readers.Wait()
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for include := data.IncludeAll; ; include = data.IncludeDataOnly {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if err := sender.SendFrame(live.take(now, len(urls)), include); err != nil {
				return fmt.Errorf("send to grafana: %w", err)
			}
		}
	}
}

func (d *Datasource) liveURLs(ctx context.Context, q liveQuery) ([]string, error) {
	urls, err := d.exporterURLs(ctx, "")
	if err != nil || q.Exporter == "" {
		return urls, err
	}
	for _, base := range urls {
		if handle(base) == q.Exporter {
			return []string{base}, nil
		}
	}
	return nil, fmt.Errorf("the exporter of this stream is none of those in the settings any more")
}
