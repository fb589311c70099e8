package main

import (
	"context"
	"fmt"
	"time"
)

// manyKeys loads the keys, looks at the memory, restarts, and defragments
// under a steady load of puts.
func manyKeys(ctx context.Context, b *bench, s *server) (samples, error) {
	out := samples{}
	rate, err := load(ctx, s.addr, 0, b.keys, valueSize)
	if err != nil {
		return nil, err
	}
	b.say("%s: loaded %d keys at %.0f/s", s.program, b.keys, rate)
	time.Sleep(2 * time.Second)
	bytes, err := s.memory()
	if err != nil {
		return nil, err
	}
	out["memory"] = sample{value: bytes / 1e6}
	var restarts []float64
	for range b.reps {
		s.stop()
		took, err := s.start(ctx)
		if err != nil {
			return nil, err
		}
		restarts = append(restarts, took.Seconds())
	}
	out["restart"] = sample{value: median(restarts)}
	b.say("%s: %.0f MB, restarts in %.2f s", s.program, bytes/1e6,
		median(restarts))
	if b.wants("defrag", "snapshot") {
		if err = background(ctx, b, s, out); err != nil {
			return out, err
		}
	}
	if s.program == "etcd" {
		err = takeOver(ctx, b, s, out)
	}
	return out, err
}

// takeOver starts chorad on the directory that etcd leaves, until it answers;
// etcd's own start on it is beside that.
func takeOver(ctx context.Context, b *bench, s *server, out samples) error {
	records := float64(b.keys)
	s.stop()
	took, err := s.start(ctx)
	if err != nil {
		return err
	}
	out["takeover"] = sample{value: records / took.Seconds()}
	s.stop()
	chorad := &server{program: "chorad", binary: b.chorad, dir: s.dir}
	defer chorad.stop()
	if took, err = chorad.start(ctx); err != nil {
		return err
	}
	b.others = samples{"takeover": {value: records / took.Seconds()}}
	b.say("chorad: took over %.0f records of etcd's in %.2f s", records,
		took.Seconds())
	return nil
}

// background compares puts at a steady rate with the same while the server has
// much to do with its disk besides. It adds 100 MB in larger values first.
func background(ctx context.Context, b *bench, s *server, out samples) error {
	const fill = 4096
	if _, err := load(ctx, s.addr, b.keys, b.keys/40, fill); err != nil {
		return err
	}
	var steady, snapshot, defragged, streamed []sample
	for range b.reps {
		time.Sleep(time.Second)
		p, err := putsDuring(ctx, b, s, func(*conn) error {
			time.Sleep(b.steadyFor)
			return nil
		})
		if err != nil {
			return err
		}
		steady = append(steady, p)
		if b.wants("snapshot") {
			if p, err = putsDuring(ctx, b, s, func(c *conn) error {
				rate, err := stream(ctx, b, s, c)
				streamed = append(streamed, sample{value: rate})
				return err
			}); err != nil {
				return fmt.Errorf("snapshot: %w", err)
			}
			snapshot = append(snapshot, p)
		}
		if b.wants("defrag") {
			if p, err = putsDuring(ctx, b, s, func(c *conn) error {
				return defrag(ctx, b, s, c)
			}); err != nil {
				return fmt.Errorf("defragment: %w", err)
			}
			defragged = append(defragged, p)
		}
	}
	out["steady"] = middle(steady)
	out["snapshot"] = middle(snapshot)
	out["stream"] = middle(streamed)
	out["defrag"] = middle(defragged)
	return nil
}

// putsDuring puts at a steady rate while f runs. Puts that were due meanwhile
// count, whenever they are answered.
func putsDuring(ctx context.Context, b *bench, s *server,
	f func(*conn) error) (sample, error) {
	c, err := dial(s.addr)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	puts, err := startSteady(s.addr, b.steadyRate, b.keys, "")
	if err != nil {
		return sample{}, err
	}
	// The first second warms up.
	time.Sleep(time.Second)
	puts.take()
	err = f(c)
	if err2 := puts.finish(); err == nil {
		err = err2
	}
	lasted, failed := puts.take()
	out := sample{rate: float64(b.steadyRate), p: percentiles(lasted),
		failed: failed}
	b.say("%s: %d puts, p50/95/99 %s ms, %d failed", s.program, len(lasted),
		latencyCell(out), failed)
	return out, err
}

// stream takes a snapshot and throws it away; how many MB/s came.
func stream(ctx context.Context, b *bench, s *server, c *conn) (float64,
	error) {
	began := time.Now()
	size, err := c.drain(ctx, pathSnapshot)
	if err != nil {
		return 0, err
	}
	took := time.Since(began).Seconds()
	mb := float64(size) / 1e6
	b.note(s.program, "snapshot", fmt.Sprintf(
		"streamed a snapshot of %.0f MB in %.1f s", mb, took))
	return mb / took, nil
}

// defragTail is how long after a defragmentation puts are still counted to it:
// what is left to be done behind the answer counts, too.
const defragTail = 2 * time.Second

func defrag(ctx context.Context, b *bench, s *server, c *conn) error {
	size, err := dbSize(ctx, c)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err = c.unary(ctx, pathDefrag, nil); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	b.note(s.program, "defrag", fmt.Sprintf(
		"defragmented a file of %.0f MB in %.1f s", size/1e6, took))
	time.Sleep(defragTail)
	return nil
}

func dbSize(ctx context.Context, c *conn) (float64, error) {
	reply, err := c.unary(ctx, pathStatus, nil)
	if err != nil {
		return 0, err
	}
	size, err := statusSize(reply)
	return float64(size), err
}
