package api

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// order is what all clients of TestRealTimeOrder know together.
type order struct {
	newest    atomic.Int64 // the highest revision that anyone was answered
	taken     sync.Map     // revisions that writes were answered with
	increased atomic.Int64
}

// answered books the revision of an answer, given what was newest when the
// request was sent.
func (o *order) answered(revision, before int64, write bool) error {
	if revision < before || (write && revision == before) {
		return fmt.Errorf("revision %d is answered after %d was", revision,
			before)
	}
	if write {
		if _, twice := o.taken.LoadOrStore(revision, true); twice {
			return fmt.Errorf("two writes are answered with revision %d",
				revision)
		}
	}
	for {
		newest := o.newest.Load()
		if newest >= revision || o.newest.CompareAndSwap(newest, revision) {
			return nil
		}
	}
}

// client writes, reads back and counts up, until the context ends.
func (o *order) client(ctx context.Context, c *clientv3.Client, key string,
) error {
	for i := 0; ctx.Err() == nil; i++ {
		before := o.newest.Load()
		put, err := c.Put(context.Background(), key, strconv.Itoa(i))
		if err != nil {
			return err
		}
		if err := o.answered(put.Header.Revision, before, true); err != nil {
			return err
		}
		before = o.newest.Load()
		got, err := c.Get(context.Background(), key)
		if err != nil {
			return err
		}
		if err := o.answered(got.Header.Revision, before, false); err != nil {
			return err
		}
		if string(got.Kvs[0].Value) != strconv.Itoa(i) {
			return fmt.Errorf("%s is %q after it was set to %d", key,
				got.Kvs[0].Value, i)
		}
		if err := o.count(c); err != nil {
			return err
		}
	}
	return nil
}

// count adds one to a shared counter if nobody else does so meanwhile.
func (o *order) count(c *clientv3.Client) error {
	got, err := c.Get(context.Background(), "counter")
	if err != nil {
		return err
	}
	number, revision := 0, int64(0)
	if len(got.Kvs) > 0 {
		number, _ = strconv.Atoi(string(got.Kvs[0].Value))
		revision = got.Kvs[0].ModRevision
	}
	before := o.newest.Load()
	txn, err := c.Txn(context.Background()).
		If(clientv3.Compare(clientv3.ModRevision("counter"), "=", revision)).
		Then(clientv3.OpPut("counter", strconv.Itoa(number+1))).
		Else(clientv3.OpGet("counter")).Commit()
	if err != nil {
		return err
	}
	if txn.Succeeded {
		o.increased.Add(1)
	}
	return o.answered(txn.Header.Revision, before, txn.Succeeded)
}

// TestRealTimeOrder lets many clients on many connections look at each
// other's answers: what was answered to one, every later request of another
// has to see.
func TestRealTimeOrder(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	realTimeOrder(t, s)
}

// realTimeOrder does it with clients of all the members of a cluster.
func realTimeOrder(t *testing.T, members ...*harness.Server) {
	t.Helper()
	var clients []*clientv3.Client
	for i := range 12 {
		clients = append(clients, httpClient(t, members[i%len(members)]))
	}
	watched := make(chan error, 2)
	events, cancelWatch := context.WithCancel(context.Background())
	defer cancelWatch()
	for i := range 2 {
		watch := clients[i].Watch(events, "", clientv3.WithPrefix(),
			clientv3.WithCreatedNotify())
		<-watch
		go func() { watched <- everyRevision(watch) }()
	}
	var o order
	o.newest.Store(1)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for i := range 24 {
		group.Go(func() {
			err := o.client(ctx, clients[i%len(clients)], fmt.Sprint("key", i))
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	final, err := clients[0].Get(timeout(t), "counter")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(o.increased.Load())
	if got := string(final.Kvs[0].Value); got != want {
		t.Errorf("the counter is %s after %s increases", got, want)
	}
	put, err := clients[0].Put(timeout(t), "end", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-watched:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("a watcher is behind")
		}
	}
	t.Logf("%d revisions in 3 s", put.Header.Revision)
}

// everyRevision sees that each revision comes once and in its turn, until the
// key "end" comes.
func everyRevision(watch clientv3.WatchChan) error {
	seen := int64(1)
	for response := range watch {
		if err := response.Err(); err != nil {
			return err
		}
		for _, event := range response.Events {
			if event.Kv.ModRevision != seen+1 {
				return fmt.Errorf("the watcher is shown revision %d after %d",
					event.Kv.ModRevision, seen)
			}
			seen++
			if string(event.Kv.Key) == "end" {
				return nil
			}
		}
	}
	return fmt.Errorf("the watch ends at revision %d", seen)
}

// TestRealTimeOrderDetects gives answers that break the order.
func TestRealTimeOrderDetects(t *testing.T) {
	var o order
	if err := o.answered(5, 4, true); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"a write that isn't newer":        o.answered(5, 5, true),
		"a read of the past":              o.answered(4, 5, false),
		"two writes with one revision":    o.answered(5, 4, true),
		"a write older than what was new": o.answered(3, 5, true),
	} {
		if err == nil {
			t.Errorf("%s isn't noticed", name)
		}
	}
	if err := o.answered(5, 5, false); err != nil {
		t.Error(err)
	}
}
