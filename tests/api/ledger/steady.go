package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Steady writes through a cluster whose members come and go, as programs do
// that know all of them: what fails is tried once more, on whatever member
// the client takes then. What is acknowledged goes into a book.
type Steady struct {
	book    *Book
	clients []*clientv3.Client
	writing sync.WaitGroup
	stop    context.CancelFunc // writers
	others  sync.WaitGroup
	end     context.CancelFunc // the watcher, the lease
	ended   sync.Once

	mu      sync.Mutex
	calls   int
	retried []error
	failed  []error
	longest time.Duration
	watched map[int64]bool
	last    int64 // the newest revision that the watcher was shown
}

// leaseSeconds is the time that the load's lease has without being kept alive.
const leaseSeconds = 20

// StartSteady begins with the given number of writers.
func StartSteady(book *Book, writers int, endpoints ...string) (*Steady,
	error) {
	ctx, end := context.WithCancel(context.Background())
	writing, stop := context.WithCancel(ctx)
	s := &Steady{book: book, stop: stop, end: end, watched: map[int64]bool{}}
	for range writers + 1 {
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints,
			DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			s.Stop()
			return nil, err
		}
		s.clients = append(s.clients, client)
	}
	lease, err := s.lease(ctx, s.clients[0])
	if err != nil {
		s.Stop()
		return nil, err
	}
	for i, client := range s.clients[1:] {
		s.writing.Go(func() { s.write(writing, client, i, lease) })
	}
	s.others.Go(func() { s.watch(ctx, s.clients[0]) })
	return s, nil
}

// SetEndpoints says which members there are.
func (s *Steady) SetEndpoints(endpoints ...string) {
	for _, client := range s.clients {
		client.SetEndpoints(endpoints...)
	}
}

// lease is kept alive all the time.
func (s *Steady) lease(ctx context.Context, client *clientv3.Client) (
	clientv3.LeaseID, error) {
	lease, err := client.Grant(ctx, leaseSeconds)
	if err != nil {
		return 0, err
	}
	kept, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return 0, err
	}
	s.others.Go(func() {
		for range kept {
		}
		if ctx.Err() == nil {
			s.fail(errors.New("the lease has run out"))
		}
	})
	return lease.ID, nil
}

func (s *Steady) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, err)
}

// twice makes a call, and once more if it fails or takes long: etcd's leader
// forgets what others send it while it hands over, and answers after seven
// seconds that it did. A call that was begun comes to its end.
func (s *Steady) twice(what string, call func(ctx context.Context) error) {
	begin := time.Now()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls++
		s.longest = max(s.longest, time.Since(begin))
	}()
	try := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return call(ctx)
	}
	err := try(2 * time.Second)
	if err == nil {
		return
	}
	s.mu.Lock()
	s.retried = append(s.retried, fmt.Errorf("%s %s: %w",
		begin.Format("15:04:05.000"), what, err))
	s.mu.Unlock()
	time.Sleep(200 * time.Millisecond)
	if again := try(20 * time.Second); again != nil {
		s.fail(fmt.Errorf("%s: %w, and after %w", what, again, err))
	}
}

// write counts up in keys of its own, and reads back what was acknowledged.
func (s *Steady) write(ctx context.Context, client *clientv3.Client, id int,
	lease clientv3.LeaseID) {
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("steady%d/%d", id, n%10)
		value := fmt.Sprint(n)
		var options []clientv3.OpOption
		if n%5 == 0 {
			options = append(options, clientv3.WithLease(lease))
		}
		known := int64(0)
		s.twice("put "+key+" "+value, func(ctx context.Context) error {
			put, err := client.Put(ctx, key, value, options...)
			if err == nil {
				known = put.Header.Revision
				s.book.acknowledge(known, change{key: value})
			}
			return err
		})
		if known == 0 || n%3 != 0 {
			continue
		}
		s.twice("get "+key, func(ctx context.Context) error {
			got, err := client.Get(ctx, key)
			if err == nil && (len(got.Kvs) != 1 ||
				string(got.Kvs[0].Value) != value ||
				got.Kvs[0].ModRevision != known) {
				s.fail(fmt.Errorf("%s is %v, it was set to %s at %d", key,
					got.Kvs, value, known))
			}
			return err
		})
	}
}

// watch notes what one watcher is shown over all the changes.
func (s *Steady) watch(ctx context.Context, client *clientv3.Client) {
	for batch := range client.Watch(ctx, "steady", clientv3.WithPrefix(),
		clientv3.WithRev(1)) {
		if err := batch.Err(); err != nil && ctx.Err() == nil {
			s.fail(fmt.Errorf("the watcher: %w", err))
		}
		s.mu.Lock()
		for _, event := range batch.Events {
			at := event.Kv.ModRevision
			if at <= s.last {
				s.failed = append(s.failed, fmt.Errorf(
					"the watcher is shown revision %d after %d", at, s.last))
			}
			s.last = at
			s.watched[at] = true
		}
		s.mu.Unlock()
	}
}

// Report is what a load has come to.
type Report struct {
	Calls   int
	Longest time.Duration
	Retried []error
	Failed  []error
}

// Stop ends the load: first the writers, whose last calls come to their ends,
// then, when it has seen all they did, the watcher. Once is enough.
func (s *Steady) Stop() Report {
	s.ended.Do(func() {
		s.stop()
		s.writing.Wait()
		s.seen()
		s.end()
		s.others.Wait()
		for _, client := range s.clients {
			client.Close()
		}
	})
	return Report{s.calls, s.longest, s.retried, s.failed}
}

// seen waits for the watcher, which has to be shown what was acknowledged.
func (s *Steady) seen() {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	missing := 0
	for limit := time.Now().Add(10 * time.Second); ; {
		s.mu.Lock()
		missing = 0
		for revision := range s.book.acked {
			if !s.watched[revision] {
				missing++
			}
		}
		s.mu.Unlock()
		if missing == 0 {
			return
		}
		if time.Now().After(limit) {
			s.fail(fmt.Errorf("the watcher is not shown %d writes", missing))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
