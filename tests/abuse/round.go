package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// result is what a server showed under one attack.
type result struct {
	attack         string
	server         string
	put50, put99   time.Duration
	putMax, get99  time.Duration
	visit          time.Duration // of the slowest new client
	requestsFailed int
	visitsFailed   int
	why            string // the first failure's text
	before         int64  // bytes of anonymous memory
	peak, after    int64
	stopped        bool // the memory ran away, the server was ended for it
	ended          bool // it ended by itself
	serves         bool // afterwards
	tally          tally
	attackErr      error // the attack itself came to nothing
}

// runaway is the memory beyond which a server is ended, for the machine's sake.
const runaway = int64(4) << 30

// watchMemory notes the highest memory until the context ends.
func watchMemory(ctx context.Context, s *server, before int64,
	peak *atomic.Int64, stopped *atomic.Bool) {
	for ctx.Err() == nil {
		now := s.memory()
		if now > peak.Load() {
			peak.Store(now)
		}
		if now > before+runaway && s.alive() {
			stopped.Store(true)
			s.kill()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// play starts a server, lets the attack loose on it beside honest clients, and
// sees what becomes of both.
func (o *options) play(ctx context.Context, a attack) (result, error) {
	r := result{attack: a.name, server: o.kind}
	s, err := startServer(ctx, o.server, o.dir)
	if err != nil {
		return r, err
	}
	defer s.stop()
	if a.filled {
		if err := fill(ctx, s.addr, o.storeMB()); err != nil {
			return r, fmt.Errorf("fill the store: %w", err)
		}
	}
	l, err := startLoad(ctx, s.addr)
	if err != nil {
		return r, err
	}
	defer l.close()
	time.Sleep(o.warm())
	r.before = s.memory()
	if r.before == 0 {
		return r, errors.New("the server ended before the attack")
	}
	o.under(ctx, a, s, l, &r)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if o.verbose && o.faults(&r) != nil {
		fmt.Printf("--- %s: the server's log:\n%s\n", a.name, s.logTail())
	}
	return r, nil
}

// under is the time of the attack, and that after it.
func (o *options) under(ctx context.Context, a attack, s *server, l *load,
	r *result) {
	var peak atomic.Int64
	var stopped atomic.Bool
	watching, enough := context.WithCancel(ctx)
	defer enough()
	go watchMemory(watching, s, r.before, &peak, &stopped)
	l.measure(true)
	r.tally, r.attackErr = o.attack(ctx, a, s.addr)
	ended := time.Now()
	// What the attackers leave behind is cleared away at somebody's cost, too.
	time.Sleep(500 * time.Millisecond)
	l.measure(false)
	o.giveBack(s, r, ended)
	l.settle()
	r.measure(l)
	r.peak = peak.Load()
	r.stopped = stopped.Load()
	r.ended = !r.stopped && !s.alive()
	_, err := visit(ctx, s.addr, patience)
	r.serves = err == nil
}

// giveBack waits until the memory is back, 10 seconds at most.
func (o *options) giveBack(s *server, r *result, ended time.Time) {
	for {
		r.after = s.memory()
		if r.after-r.before <= o.keptMB<<20 || !s.alive() ||
			time.Since(ended) > 10*time.Second {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (r *result) measure(l *load) {
	r.put50 = l.puts.quantile(0.5)
	r.put99 = l.puts.quantile(0.99)
	r.putMax = l.puts.quantile(1)
	r.get99 = l.gets.quantile(0.99)
	r.visit = l.visits.quantile(1)
	r.requestsFailed = l.puts.failed + l.gets.failed
	r.visitsFailed = l.visits.failed
	for _, s := range []*series{&l.puts, &l.gets, &l.visits} {
		if s.first != nil && r.why == "" {
			r.why = s.first.Error()
		}
	}
}

// fill puts values of a megabyte.
func fill(ctx context.Context, addr string, megabytes int) error {
	client, err := newClient(addr)
	if err != nil {
		return err
	}
	defer client.Close()
	value := strings.Repeat("0123456789abcdef", 1<<16)
	for i := range megabytes {
		if _, err := putPatiently(ctx, client, fmt.Sprintf("fill/%04d", i),
			value); err != nil {
			return err
		}
	}
	return nil
}

func putPatiently(ctx context.Context, client *clientv3.Client, key,
	value string) (*clientv3.PutResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*patience)
	defer cancel()
	return client.Put(ctx, key, value)
}
