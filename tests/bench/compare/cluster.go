package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// clusterWorks are those of three members on this one machine. Clients spread
// over all of them; the processor time is that of all.
func clusterWorks() []work {
	crowd := "three members, 100 connections, 1000 clients: "
	alone := "three members, 1 connection, 1 client: "
	find := []string{"range", string(key(0))}
	put := func(b *bench) []string { return append([]string{"put"}, sized(b)...) }
	get := func(consistency string) func(*bench) []string {
		return func(*bench) []string {
			return append(find[:2:2], "--consistency="+consistency)
		}
	}
	return []work{
		clusterWork("put-3", crowd+"put", []aim{cpuAtMost(0.35), rateAtLeast(2)},
			100, 1000, func(b *bench) int { return b.puts }, put),
		clusterWork("range-l-3", crowd+"range, linearizable", nil, 100, 1000,
			func(b *bench) int { return b.ranges }, get("l")),
		clusterWork("range-s-3", crowd+"range, serializable", nil, 100, 1000,
			func(b *bench) int { return b.ranges }, get("s")),
		clusterWork("put-1-3", alone+"put", nil, 1, 1,
			func(b *bench) int { return b.lonePuts / 2 }, put),
		clusterWork("range-1-3", alone+"range, linearizable", nil, 1, 1,
			func(b *bench) int { return b.loneRanges / 2 }, get("l")),
		{name: "failover", group: "cluster", members: 3, once: true,
			run: failover, rows: []row{{name: "failover", unit: "s",
				title: "three members: from the leader's `kill -9` until " +
					"another member has taken a put"}}},
	}
}

func clusterWork(name, title string, aims []aim, conns, clients int,
	total func(*bench) int, args func(*bench) []string) work {
	w := benchWork(name, title, aims, func(ctx context.Context, b *bench,
		s *server) (sample, error) {
		return benchmark(ctx, b, s, conns, clients, total(b), args(b)...)
	})
	w.group, w.members = "cluster", 3
	return w
}

// failover kills the leader again and again; the value is the median.
func failover(ctx context.Context, b *bench, s *server) (samples, error) {
	var took []float64
	for range b.failovers {
		leader, err := leaderOf(ctx, s)
		if err != nil {
			return nil, err
		}
		other := leader.others[0]
		c, err := dial(other.addr)
		if err != nil {
			return nil, err
		}
		puts, err := startSteady(leader.others[1].addr, 200, 1000, "")
		if err != nil {
			return nil, err
		}
		time.Sleep(time.Second)
		leader.kill()
		began := time.Now()
		err = putUntilTaken(ctx, c)
		took = append(took, time.Since(began).Seconds())
		c.close()
		if err == nil {
			err = puts.finish()
		}
		if err != nil {
			return nil, err
		}
		if err := leader.launch(); err != nil {
			return nil, err
		}
		if err := leader.ready(ctx, time.Now().Add(30*time.Second)); err != nil {
			return nil, fmt.Errorf("%s doesn't come back: %w\n%s", s.program,
				err, leader.logTail())
		}
		// It shall have caught up before the next one falls.
		time.Sleep(time.Second)
	}
	b.note(s.program, "failover", fmt.Sprintf(
		"took a put again %s s after its leader was killed, beside 200 puts a "+
			"second (each of %d; median %s, at most %s)", numbers(took),
		len(took), number(median(took)), number(slices.Max(took))))
	return samples{"failover": {value: median(took)}}, nil
}

func leaderOf(ctx context.Context, s *server) (*server, error) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		for _, m := range s.members() {
			leads, err := m.leads(ctx)
			if err != nil {
				return nil, err
			}
			if leads {
				return m, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no member leads")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *server) leads(ctx context.Context) (bool, error) {
	c, err := dial(s.addr)
	if err != nil {
		return false, err
	}
	defer c.close()
	reply, err := c.unary(ctx, pathStatus, nil)
	if err != nil {
		return false, err
	}
	return statusLeads(reply)
}

// putUntilTaken asks every 10 ms, as what was asked before the member knew of
// its leader's end may be answered late or never.
func putUntilTaken(ctx context.Context, c *conn) error {
	taken := make(chan struct{}, 4096)
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		c.submit(&call{path: pathPut, onEnd: func(_ *call, err error) {
			if err == nil {
				taken <- struct{}{}
			}
		}}, putRequest(nil, key(0), value(valueSize)), true)
		c.flush()
		select {
		case <-taken:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("no put was taken within 30 s")
}
