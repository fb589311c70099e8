package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Clients that ask for much, rightly. No limit that stops an attack may meet
// them: none may see an error, or lose its connection.

type honestPart struct {
	name string
	play func(ctx context.Context, h *heavy) error
}

var honestParts = []honestPart{
	{"honest-cancels", honestCancels},
	{"honest-connections", honestConnections},
	{"honest-watchers", honestWatchers},
	{"honest-large", honestLarge},
	{"honest-pings", honestPings},
}

// heavy is one part's play against a server.
type heavy struct {
	*options
	addr   string
	done   atomic.Int64 // requests answered
	lost   atomic.Int64 // connections that ended before their client did
	failed series
}

// lines counts the connections of a client that end while it is open.
type lines struct {
	heavy  *heavy
	closed atomic.Bool
}

func (l *lines) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return ctx
}
func (l *lines) HandleRPC(context.Context, stats.RPCStats) {}
func (l *lines) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (l *lines) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, end := s.(*stats.ConnEnd); end && !l.closed.Load() {
		l.heavy.lost.Add(1)
	}
}

// client is one whose losses count; the function closes it.
func (h *heavy) client(more ...grpc.DialOption) (*clientv3.Client, func(), error) {
	l := &lines{heavy: h}
	client, err := newClient(h.addr, append(more, grpc.WithStatsHandler(l))...)
	if err != nil {
		return nil, nil, err
	}
	return client, func() {
		l.closed.Store(true)
		_ = client.Close()
	}, nil
}

// saw notes a request's end. What its caller has given up isn't an error.
func (h *heavy) saw(err error, given bool) {
	if given && (errors.Is(err, context.Canceled) ||
		status.Code(err) == codes.Canceled) {
		err = nil
	}
	if err != nil {
		h.failed.add(0, err)
		return
	}
	h.done.Add(1)
}

func (o *options) runHonest(ctx context.Context, wanted *regexp.Regexp) (n,
	failed int, err error) {
	for _, part := range honestParts {
		if !wanted.MatchString(part.name) {
			continue
		}
		if n == 0 {
			fmt.Printf("\n| heavy client | server | requests | errors | " +
				"connections lost | memory peak +MB | verdict |\n" +
				"|---|---|---|---|---|---|---|\n")
		}
		n++
		ok, err := o.playHonest(ctx, part)
		if err != nil {
			return n, failed, fmt.Errorf("%s: %w", part.name, err)
		}
		if !ok {
			failed++
		}
	}
	return n, failed, nil
}

func (o *options) playHonest(ctx context.Context, part honestPart) (bool, error) {
	s, err := startServer(ctx, o.server, o.dir)
	if err != nil {
		return false, err
	}
	defer s.stop()
	var peak atomic.Int64
	var stopped atomic.Bool
	before := s.memory()
	watching, enough := context.WithCancel(ctx)
	defer enough()
	go watchMemory(watching, s, before, &peak, &stopped)
	h := &heavy{options: o, addr: s.addr}
	if err := part.play(ctx, h); err != nil {
		h.saw(err, false)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	verdict := "ok"
	switch {
	case !s.alive():
		verdict = "**FAILED**: server ended"
	case h.failed.failed > 0:
		verdict = "**FAILED**: " + brief(h.failed.first.Error())
	case h.lost.Load() > 0:
		verdict = "**FAILED**: connections lost"
	case h.done.Load() == 0:
		verdict = "**FAILED**: nothing was done"
	}
	fmt.Printf("| %s | %s | %d | %d | %d | %+.0f | %s |\n", part.name, o.kind,
		h.done.Load(), h.failed.failed, h.lost.Load(), mb(peak.Load()-before),
		verdict)
	return verdict == "ok", nil
}

// long is how much time a heavy client's request has: only errors count here.
const long = 60 * time.Second

// honestCancels is a thousand callers on one connection, as etcd's benchmark
// has them, a third of whose calls are given up at some time.
func honestCancels(ctx context.Context, h *heavy) error {
	client, done, err := h.client()
	if err != nil {
		return err
	}
	defer done()
	var all sync.WaitGroup
	end := time.Now().Add(h.time())
	for i := range 1000 {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				h.putOrCancel(ctx, client, i)
			}
		})
	}
	all.Wait()
	return nil
}

func (h *heavy) putOrCancel(ctx context.Context, client *clientv3.Client, i int) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	given := rand.IntN(3) == 0
	if given {
		t := time.AfterFunc(rand.N(20*time.Millisecond), cancel)
		defer t.Stop()
	}
	_, err := client.Put(ctx, fmt.Sprintf("cancels/%d", i), "value")
	h.saw(err, given)
}

// honestConnections is a hundred connections that come at once, ten callers on
// each.
func honestConnections(ctx context.Context, h *heavy) error {
	var all sync.WaitGroup
	end := time.Now().Add(h.time())
	for i := range 100 {
		all.Go(func() {
			client, done, err := h.client()
			if err != nil {
				h.saw(err, false)
				return
			}
			defer done()
			var callers sync.WaitGroup
			for j := range 10 {
				callers.Go(func() {
					for time.Now().Before(end) && ctx.Err() == nil {
						_, err := putPatiently(ctx, client,
							fmt.Sprintf("connections/%d/%d", i, j), "value")
						h.saw(err, false)
					}
				})
			}
			callers.Wait()
		})
	}
	all.Wait()
	return nil
}

// honestWatchers has watchers by the thousand on one connection, on a hundred
// streams; each has to be shown the change of its key.
func honestWatchers(ctx context.Context, h *heavy) error {
	client, done, err := h.client()
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, 2*long)
	defer cancel()
	n := h.watchers
	if h.quick {
		n = min(n, 3000)
	}
	var created, shown sync.WaitGroup
	for i := range n {
		created.Add(1)
		shown.Go(func() { h.watchOne(ctx, client, i, created.Done) })
		if i%100 == 99 {
			time.Sleep(time.Millisecond)
		}
	}
	created.Wait()
	var puts sync.WaitGroup
	for first := range 50 {
		puts.Go(func() {
			for i := first; i < n; i += 50 {
				_, err := putPatiently(ctx, client, watchedKey(i), "seen")
				h.saw(err, false)
			}
		})
	}
	puts.Wait()
	shown.Wait()
	return nil
}

func watchedKey(i int) string { return fmt.Sprintf("watched/%06d", i) }

// watchOne watches a key until it has been changed once.
func (h *heavy) watchOne(ctx context.Context, client *clientv3.Client, i int,
	created func()) {
	told := sync.OnceFunc(created)
	defer told()
	// Streams are shared by the watches with equal metadata.
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx,
		metadata.Pairs("stream", fmt.Sprint(i%100))))
	defer cancel()
	for r := range client.Watch(ctx, watchedKey(i), clientv3.WithCreatedNotify()) {
		switch {
		case r.Err() != nil:
			h.saw(r.Err(), false)
			return
		case r.Created:
			told()
		case len(r.Events) > 0:
			h.saw(nil, false)
			return
		}
	}
	h.saw(errors.New("a watch ended without its event"), false)
}

// honestLarge puts and gets values of a megabyte from fifty callers.
func honestLarge(ctx context.Context, h *heavy) error {
	client, done, err := h.client()
	if err != nil {
		return err
	}
	defer done()
	value := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	var all sync.WaitGroup
	end := time.Now().Add(h.time())
	for i := range 50 {
		all.Go(func() {
			key := fmt.Sprintf("large/%d", i)
			for time.Now().Before(end) && ctx.Err() == nil {
				_, err := putPatiently(ctx, client, key, value)
				h.saw(err, false)
				getting, cancel := context.WithTimeout(ctx, long)
				r, err := client.Get(getting, key)
				cancel()
				if err == nil && (len(r.Kvs) != 1 ||
					string(r.Kvs[0].Value) != value) {
					err = errors.New("a large value came back changed")
				}
				h.saw(err, false)
			}
		})
	}
	all.Wait()
	return nil
}

// honestPings are clients that keep idle connections alive, as often as a
// client of Go may ping: every 10 seconds. Half of them have a watch; the others
// don't ping, as a client of etcd's doesn't without a stream unless it is told
// to, and etcd then cuts it off.
func honestPings(ctx context.Context, h *heavy) error {
	const clients = 20
	var all sync.WaitGroup
	idle := 35 * time.Second
	if h.quick {
		idle = 12 * time.Second
	}
	for i := range clients {
		all.Go(func() {
			client, done, err := h.client(grpc.WithKeepaliveParams(
				keepalive.ClientParameters{Time: 10 * time.Second,
					Timeout: 3 * time.Second}))
			if err != nil {
				h.saw(err, false)
				return
			}
			defer done()
			if i%2 == 0 {
				_ = client.Watch(ctx, "pings")
			}
			_, err = putPatiently(ctx, client, fmt.Sprintf("alive/%d", i), "")
			h.saw(err, false)
			select {
			case <-ctx.Done():
				return
			case <-time.After(idle):
			}
			_, err = putPatiently(ctx, client, fmt.Sprintf("alive/%d", i), "")
			h.saw(err, false)
		})
	}
	all.Wait()
	return nil
}
