package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	watchConns   = 10
	watchStreams = 100
)

// fans are watchers: streams, each of which carries many.
type fans struct {
	conns   []*conn
	streams []*call
	created atomic.Int64
	events  atomic.Int64
	failure chan error
}

func openFans(addr string) (*fans, error) {
	conns, err := dialAll(addr, watchConns)
	if err != nil {
		return nil, err
	}
	f := &fans{conns: conns, failure: make(chan error, 1)}
	for range watchStreams {
		f.streams = append(f.streams, &call{path: pathWatch,
			onMessage: f.message,
			onEnd:     func(_ *call, err error) { f.fail(err) }})
	}
	return f, nil
}

func (f *fans) fail(err error) {
	if err == nil {
		err = errors.New("the server ends a watch stream")
	}
	select {
	case f.failure <- err:
	default:
	}
}

func (f *fans) message(b []byte) {
	created, events, err := watchResponse(b)
	if err != nil {
		f.fail(err)
	}
	if created {
		f.created.Add(1)
	}
	f.events.Add(events)
}

// wait waits until a counter has reached what it should.
func (f *fans) wait(ctx context.Context, what string, counter *atomic.Int64,
	until int64) error {
	deadline := time.Now().Add(60 * time.Second)
	for counter.Load() < until {
		select {
		case err := <-f.failure:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d %s", counter.Load(), until, what)
		}
	}
	return nil
}

// add creates n watchers on a key, spread over the streams, a few on each at
// a time.
func (f *fans) add(ctx context.Context, key []byte, n int) error {
	const step = 5
	body := watchRequest(key)
	for n > 0 {
		until := f.created.Load()
		for i, k := range f.streams {
			for range min(step, n) {
				f.conns[i%watchConns].submit(k, body, false)
				until++
				n--
			}
		}
		for _, c := range f.conns {
			c.flush()
		}
		if err := f.wait(ctx, "watchers created", &f.created,
			until); err != nil {
			return err
		}
	}
	return nil
}

// fanOut measures what idle watchers take, and then how fast events reach
// the watchers of one key. A few puts are under way at any time.
func fanOut(ctx context.Context, b *bench, s *server) (samples, error) {
	const ahead = 4
	f, err := openFans(s.addr)
	if err != nil {
		return nil, err
	}
	defer closeAll(f.conns)
	if err := f.add(ctx, []byte("quiet"), watchStreams); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	before, err := s.memory()
	if err != nil {
		return nil, err
	}
	if err := f.add(ctx, []byte("quiet"), b.idleWatchers); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	after, err := s.memory()
	if err != nil {
		return nil, err
	}
	if err := f.add(ctx, key(0), b.watchers); err != nil {
		return nil, err
	}
	writer, err := dial(s.addr)
	if err != nil {
		return nil, err
	}
	defer writer.close()
	body := putRequest(nil, key(0), value(valueSize))
	total := int64(b.watchers) * int64(b.watchPuts)
	events, err := measured(s, int(total), func() (sample, error) {
		began := time.Now()
		for i := range int64(b.watchPuts) {
			writer.submit(&call{path: pathPut, onEnd: func(_ *call, err error) {
				if err != nil {
					f.fail(err)
				}
			}}, body, true)
			writer.flush()
			if err := f.wait(ctx, "events", &f.events,
				int64(b.watchers)*max(0, i+1-ahead)); err != nil {
				return sample{}, err
			}
		}
		err := f.wait(ctx, "events", &f.events, total)
		return sample{rate: float64(total) / time.Since(began).Seconds()}, err
	})
	if err != nil {
		return nil, err
	}
	return samples{"events": events,
		"watcher": {value: (after - before) / float64(b.idleWatchers)}}, nil
}
