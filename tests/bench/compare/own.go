package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	keySize   = 32
	valueSize = 256
)

// key spreads the keys over the key space, as random ones would be.
func key(i int) []byte {
	b := make([]byte, keySize)
	r := rand.New(rand.NewPCG(uint64(i), 7))
	for at := 0; at < keySize; at += 8 {
		binary.BigEndian.PutUint64(b[at:], r.Uint64())
	}
	return b
}

func value(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// load puts n keys, with a fixed number of calls under way at any time, and
// returns how many a second went through.
func load(ctx context.Context, addr string, first, n, size int) (float64,
	error) {
	const conns, depth = 10, 64
	all, err := dialAll(addr, conns)
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	var next atomic.Int64
	var left sync.WaitGroup
	var failure error
	var once sync.Once
	v := value(size)
	var more func(c *conn)
	more = func(c *conn) {
		i := int(next.Add(1)) - 1
		if i >= n || ctx.Err() != nil {
			left.Done()
			return
		}
		c.submit(&call{path: pathPut, onEnd: func(_ *call, err error) {
			if err != nil {
				once.Do(func() { failure = err })
				left.Done()
				return
			}
			more(c)
		}}, putRequest(nil, key(first+i), v), true)
	}
	left.Add(conns * depth)
	began := time.Now()
	for _, c := range all {
		for range depth {
			more(c)
		}
		c.flush()
	}
	left.Wait()
	if failure == nil {
		failure = ctx.Err()
	}
	return float64(n) / time.Since(began).Seconds(), failure
}

// steady puts at a fixed rate until stopped, and keeps each call's latency
// counted from when it was due: a server that stalls doesn't slow the clock.
type steady struct {
	conns   []*conn
	stop    chan struct{}
	stopped chan struct{}
	pending sync.WaitGroup
	mu      sync.Mutex
	lasted  []time.Duration
	failed  int
	failure error
}

func startSteady(addr string, perSecond, keys int, token string) (*steady,
	error) {
	conns, err := dialAll(addr, 10)
	if err != nil {
		return nil, err
	}
	for _, c := range conns {
		c.token = token
	}
	s := &steady{conns: conns, stop: make(chan struct{}),
		stopped: make(chan struct{})}
	go s.run(perSecond, keys)
	return s, nil
}

func (s *steady) run(perSecond, keys int) {
	defer close(s.stopped)
	v := value(valueSize)
	began := time.Now()
	gap := time.Second / time.Duration(perSecond)
	for i := 0; ; i++ {
		due := began.Add(time.Duration(i) * gap)
		pause(time.Until(due))
		select {
		case <-s.stop:
			return
		default:
		}
		c := s.conns[i%len(s.conns)]
		s.pending.Add(1)
		c.submit(&call{path: pathPut, began: due, onEnd: s.ended},
			putRequest(nil, key(rand.IntN(keys)), v), true)
		c.flush()
	}
}

// pause sleeps to the microsecond: Go's own timers are a millisecond late,
// which is more than a put takes.
func pause(d time.Duration) {
	if d > 0 {
		t := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&t, nil)
	}
}

func (s *steady) ended(k *call, err error) {
	s.mu.Lock()
	if err != nil {
		s.failed++
		s.failure = err
	}
	s.lasted = append(s.lasted, time.Since(k.began))
	s.mu.Unlock()
	s.pending.Done()
}

// take returns the latencies so far and starts over.
func (s *steady) take() (lasted []time.Duration, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lasted, failed = s.lasted, s.failed
	s.lasted, s.failed = nil, 0
	return lasted, failed
}

// finish stops new calls and waits for those under way.
func (s *steady) finish() error {
	close(s.stop)
	<-s.stopped
	done := make(chan struct{})
	go func() {
		s.pending.Wait()
		close(done)
	}()
	defer closeAll(s.conns)
	select {
	case <-done:
		return nil
	case <-time.After(60 * time.Second):
		return errors.New("puts without an answer for 60 s")
	}
}

// percentiles are the p50, p95 and p99 in milliseconds.
func percentiles(lasted []time.Duration) (p [3]float64) {
	if len(lasted) == 0 {
		return p
	}
	slices.Sort(lasted)
	for i, q := range []float64{0.5, 0.95, 0.99} {
		at := min(int(q*float64(len(lasted))), len(lasted)-1)
		p[i] = float64(lasted[at]) / float64(time.Millisecond)
	}
	return p
}
