package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const prefix = "/registry/"

// load is what API servers do to their etcd: updates guarded by the revision
// an object was last seen at, lists in pages at one revision and whole, leases
// for events, watchers of each kind with the values before, and compaction.
type load struct {
	clients []*clientv3.Client
	objects int
	size    int

	mu      sync.Mutex
	updates []time.Duration
	failed  atomic.Int64
	events  atomic.Int64
	lists   atomic.Int64
}

const kinds = 50

func (l *load) key(i int) string {
	return fmt.Sprintf("%skind%02d/object-%06d", prefix, i%kinds, i)
}

func (l *load) value() string {
	b := make([]byte, l.size)
	for i := range b {
		b[i] = byte('a' + rand.IntN(26))
	}
	return string(b)
}

func (l *load) client(i int) *clientv3.Client {
	return l.clients[i%len(l.clients)]
}

func (l *load) fill(ctx context.Context) error {
	var group sync.WaitGroup
	var failure atomic.Value
	for worker := range 32 {
		group.Go(func() {
			for i := worker; i < l.objects; i += 32 {
				_, err := l.client(i).Put(ctx, l.key(i), l.value())
				if err != nil {
					failure.Store(err)
					return
				}
			}
		})
	}
	group.Wait()
	if err, ok := failure.Load().(error); ok {
		return err
	}
	return nil
}

// update is a guaranteed update: it reads, and puts if nobody was faster.
func (l *load) update(ctx context.Context, c *clientv3.Client) error {
	key := l.key(rand.IntN(l.objects))
	got, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	var revision int64
	if len(got.Kvs) > 0 {
		revision = got.Kvs[0].ModRevision
	}
	began := time.Now()
	_, err = c.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, l.value())).
		Else(clientv3.OpGet(key)).Commit()
	l.mu.Lock()
	l.updates = append(l.updates, time.Since(began))
	l.mu.Unlock()
	return err
}

// page lists a kind as clients do: 500 at a time, all at the first's revision.
func (l *load) page(ctx context.Context, c *clientv3.Client) error {
	from := fmt.Sprintf("%skind%02d/", prefix, rand.IntN(kinds))
	end := clientv3.GetPrefixRangeEnd(from)
	var revision int64
	for {
		got, err := c.Get(ctx, from, clientv3.WithRange(end),
			clientv3.WithLimit(500), clientv3.WithRev(revision))
		if err != nil {
			return err
		}
		l.lists.Add(1)
		if !got.More {
			return nil
		}
		revision = got.Header.Revision
		from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
}

func (l *load) whole(ctx context.Context, c *clientv3.Client) error {
	_, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	l.lists.Add(1)
	return err
}

// event is what a lease is for: an object that goes by itself.
func (l *load) event(ctx context.Context, c *clientv3.Client) error {
	lease, err := c.Grant(ctx, 10)
	if err != nil {
		return err
	}
	for range 20 {
		key := fmt.Sprintf("%sevents/%d", prefix, rand.Int64())
		if _, err = c.Put(ctx, key, l.value(),
			clientv3.WithLease(lease.ID)); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) compact(ctx context.Context, c *clientv3.Client) error {
	got, err := c.Get(ctx, "compact_rev_key")
	if err != nil {
		return err
	}
	_, err = c.Compact(ctx, max(got.Header.Revision-3000, 1))
	return err
}

func (l *load) watch(ctx context.Context, i int) {
	kind := fmt.Sprintf("%skind%02d/", prefix, i%kinds)
	for ctx.Err() == nil {
		for got := range l.client(i).Watch(ctx, kind, clientv3.WithPrefix(),
			clientv3.WithPrevKV()) {
			l.events.Add(int64(len(got.Events)))
		}
	}
}

// every calls again and again, with a pause in between.
func (l *load) every(ctx context.Context, group *sync.WaitGroup, n int,
	pause time.Duration,
	what func(context.Context, *clientv3.Client) error) {
	for i := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				one, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := what(one, l.client(i))
				cancel()
				if err != nil && ctx.Err() == nil {
					l.failed.Add(1)
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}

func (l *load) run(ctx context.Context, lasting time.Duration) {
	ctx, stop := context.WithTimeout(ctx, lasting)
	defer stop()
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() { l.watch(ctx, i) })
	}
	l.every(ctx, &group, 24, 5*time.Millisecond, l.update)
	l.every(ctx, &group, 3, 50*time.Millisecond, l.page)
	l.every(ctx, &group, 1, 2*time.Second, l.whole)
	l.every(ctx, &group, 3, 200*time.Millisecond, l.event)
	l.every(ctx, &group, 1, 4*time.Second, l.compact)
	group.Wait()
	slices.Sort(l.updates)
}

func (l *load) percentile(of float64) time.Duration {
	if len(l.updates) == 0 {
		return 0
	}
	return l.updates[int(of*float64(len(l.updates)-1))]
}
