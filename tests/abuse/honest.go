package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	patience   = 5 * time.Second // of a honest request
	honestKeys = 500
)

// series collects how long the requests of one kind took; one without an
// answer counts with the time for which it was waited for.
type series struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
	first  error // the first failure
}

func (s *series) add(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
	if err != nil {
		s.failed++
		if s.first == nil {
			s.first = err
		}
	}
}

// quantile is the time that the given share of the requests kept; 1 is the
// slowest. No requests at all are the worst there is.
func (s *series) quantile(share float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.took) == 0 {
		return time.Hour
	}
	slices.Sort(s.took)
	at := int(share*float64(len(s.took))+0.999999) - 1
	return s.took[min(max(at, 0), len(s.took)-1)]
}

// load is what goes on all the time beside an attack: a client that puts and
// gets at a steady pace, whatever became of its requests before, and clients
// that come, put once and go.
type load struct {
	addr    string
	client  *clientv3.Client
	puts    series
	gets    series
	visits  series
	waiting atomic.Int64 // requests under way
	stop    context.CancelFunc
	stopped sync.WaitGroup

	mu       sync.Mutex // of record, and of Go against Wait
	record   bool
	recorded sync.WaitGroup // requests under way whose times count
	others   sync.WaitGroup
}

// newClient is an ordinary client of etcd's.
func newClient(addr string, more ...grpc.DialOption) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{addr},
		DialTimeout: patience, Logger: zap.NewNop(), DialOptions: more})
}

func startLoad(ctx context.Context, addr string) (*load, error) {
	client, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	l := &load{addr: addr, client: client, stop: stop}
	// What can't be answered isn't asked without end.
	const most = 1500
	l.stopped.Go(func() {
		l.every(ctx, 5*time.Millisecond, func(due time.Time, n int) {
			if l.waiting.Load() < most {
				l.request(ctx, due, n)
			}
		})
	})
	l.stopped.Go(func() {
		l.every(ctx, 50*time.Millisecond, func(due time.Time, _ int) {
			l.start(due, &l.visits, func() error {
				_, err := visit(ctx, addr, patience)
				return err
			})
		})
	})
	return l, nil
}

// every calls do at each interval, with the time at which it was due, so that
// a late call is late by the measure of who waits for its answer.
func (l *load) every(ctx context.Context, interval time.Duration,
	do func(due time.Time, n int)) {
	due := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Until(due))
		do(due, n)
		due = due.Add(interval)
	}
}

func (l *load) start(due time.Time, into *series, do func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.Add(1)
	if !l.record {
		l.others.Go(func() {
			_ = do()
			l.waiting.Add(-1)
		})
		return
	}
	l.recorded.Go(func() {
		err := do()
		l.waiting.Add(-1)
		into.add(time.Since(due), err)
	})
}

// measure has the times of requests count from now on, or no more.
func (l *load) measure(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = on
}

func (l *load) request(ctx context.Context, due time.Time, n int) {
	key := fmt.Sprintf("honest/%d", n%honestKeys)
	l.start(due, &l.puts, func() error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := l.client.Put(ctx, key, fmt.Sprint("value ", n))
		return err
	})
	l.start(due, &l.gets, func() error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := l.client.Get(ctx, key)
		return err
	})
}

// settle waits for the answers to what was recorded, while others are asked for
// without end.
func (l *load) settle() { l.recorded.Wait() }

func (l *load) close() {
	l.stop()
	l.stopped.Wait()
	l.recorded.Wait()
	l.others.Wait()
	_ = l.client.Close()
}

// visit is a client that comes anew, puts once and goes. It says how long it
// took.
func visit(ctx context.Context, addr string, wait time.Duration) (time.Duration,
	error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := grpc.NewClient(addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, err = pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{
		Key: []byte("visitor"), Value: []byte("was here")},
		grpc.WaitForReady(true))
	return time.Since(began), err
}
