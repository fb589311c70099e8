package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// attack is one way to abuse a server. It is played on each of its connections
// until the time is up; when the server has closed one, the next is opened.
type attack struct {
	name        string
	connections int  // 0: four
	filled      bool // wants a store with a lot in it
	play        func(p *player) error
}

// order is what the process of the attackers is told.
type order struct {
	Attack  string
	Addr    string
	Time    time.Duration
	Quick   bool
	Frames  int // in a second, over all connections
	Bytes   int
	StoreMB int
}

// tally is what it reports.
type tally struct {
	Connections int64
	Frames      int64
	Bytes       int64
	Cut         int64            // connections that the server ended
	Refused     int64            // connections that didn't come to be
	Said        map[string]int64 // GOAWAY, RST_STREAM, statuses, by code
	Wrong       []string         // answers that no server may give
	CPU         float64          // seconds
}

// attack plays one attack in a process of its own, which gives way to the
// server and has one processor.
func (o *options) attack(ctx context.Context, a attack, addr string) (tally,
	error) {
	var t tally
	told, err := json.Marshal(order{Attack: a.name, Addr: addr,
		Time: o.time(), Quick: o.quick, Frames: o.frames, Bytes: o.bytes,
		StoreMB: o.storeMB()})
	if err != nil {
		return t, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.time()+10*time.Second)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return t, err
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "10", self, "attack",
		string(told))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return t, fmt.Errorf("%w: %s", err, brief(said.String()))
	}
	err = json.Unmarshal(out.Bytes(), &t)
	t.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return t, err
}

// attackMain is the process of the attackers.
func attackMain(told string) error {
	var o order
	if err := json.Unmarshal([]byte(told), &o); err != nil {
		return err
	}
	for _, a := range attacks() {
		if a.name == o.Attack {
			t := attackAll(o, a)
			return json.NewEncoder(os.Stdout).Encode(t)
		}
	}
	return fmt.Errorf("no attack is called %q", o.Attack)
}

func attackAll(o order, a attack) *tally {
	c := &crew{order: o, end: time.Now().Add(o.Time),
		tally: tally{Said: map[string]int64{}}}
	c.pace.frames = float64(o.Frames)
	c.pace.bytes = float64(o.Bytes)
	c.pace.at = time.Now()
	var all sync.WaitGroup
	n := a.connections
	if n == 0 {
		n = 4
	}
	for i := range n {
		all.Go(func() {
			p := &player{crew: c, index: i}
			for !p.over() {
				_ = a.play(p)
				p.wait(20 * time.Millisecond)
			}
		})
	}
	all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return &c.tally
}

// crew is what the players of one attack share.
type crew struct {
	order
	end   time.Time
	pace  pace
	mu    sync.Mutex
	tally tally
	made  sync.Map // what is costly to make, by name
	round atomic.Int64
}

// player plays an attack on one connection after the other.
type player struct {
	*crew
	index int
}

func (c *crew) over() bool { return !time.Now().Before(c.end) }

// wait sleeps, not beyond the end, and says whether there is time left.
func (c *crew) wait(d time.Duration) bool {
	time.Sleep(min(d, time.Until(c.end)))
	return !c.over()
}

// size is a number of things: that for a full run, or less.
func (c *crew) size(full, quick int) int {
	if c.Quick {
		return quick
	}
	return full
}

func (c *crew) note(f func(t *tally)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.tally)
}

func (c *crew) said(what string) {
	c.note(func(t *tally) {
		// The number of texts is bounded, whatever a server says.
		if len(t.Said) < 100 || t.Said[what] > 0 {
			t.Said[what]++
		}
	})
}

// wrong notes an answer that no server may give, each text once.
func (c *crew) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.note(func(t *tally) {
		for _, known := range t.Wrong {
			if known == text {
				return
			}
		}
		if len(t.Wrong) < 5 {
			t.Wrong = append(t.Wrong, text)
		}
	})
}

// dial opens a connection all of whose writes are paced and counted.
func (p *player) dial() (*pacedConn, error) {
	if p.over() {
		return nil, os.ErrDeadlineExceeded
	}
	conn, err := net.DialTimeout("tcp", p.Addr, time.Until(p.end))
	if err != nil {
		p.note(func(t *tally) { t.Refused++ })
		return nil, err
	}
	p.note(func(t *tally) { t.Connections++ })
	_ = conn.SetDeadline(p.end)
	return &pacedConn{Conn: conn, p: p}, nil
}

// pacedConn counts a write as one frame; who knows better counts the rest.
type pacedConn struct {
	net.Conn
	p *player
}

func (c *pacedConn) Write(b []byte) (int, error) { return c.write(b, 1) }

// write writes at most 64 KiB at a time, so that the pace is even.
func (c *pacedConn) write(b []byte, frames int) (int, error) {
	done := 0
	for done < len(b) {
		part := b[done:min(len(b), done+1<<16)]
		if !c.p.pace.take(frames, len(part), c.p.end) {
			return done, os.ErrDeadlineExceeded
		}
		n, err := c.Conn.Write(part)
		c.p.note(func(t *tally) {
			t.Bytes += int64(n)
			t.Frames += int64(frames)
		})
		done += n
		frames = 0
		if err != nil {
			c.failed(err)
			return done, err
		}
	}
	return done, nil
}

// failed notes that the server has ended the connection; our own end and the
// end of the time don't count.
func (c *pacedConn) failed(err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) &&
		(errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		c.p.said("reset connections")
	}
}

// pace is a bucket of frames and bytes that all players draw from.
type pace struct {
	mu     sync.Mutex
	frames float64 // in a second
	bytes  float64
	at     time.Time // until then it is spent
}

// take waits until so much may be sent, and says whether that was before the
// end.
func (b *pace) take(frames, bytes int, end time.Time) bool {
	b.mu.Lock()
	cost := max(float64(frames)/b.frames, float64(bytes)/b.bytes)
	if now := time.Now(); b.at.Before(now.Add(-10 * time.Millisecond)) {
		b.at = now.Add(-10 * time.Millisecond)
	}
	b.at = b.at.Add(time.Duration(cost * float64(time.Second)))
	at := b.at
	b.mu.Unlock()
	if wait := time.Until(at); wait > time.Millisecond {
		time.Sleep(min(wait, time.Until(end)))
	}
	return at.Before(end)
}
