package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// held is what a server shows whose doors held.
func held() result {
	return result{attack: "a", put99: 20 * time.Millisecond,
		get99: 20 * time.Millisecond, visit: 100 * time.Millisecond,
		before: 100 << 20, peak: 160 << 20, after: 110 << 20, serves: true,
		tally: tally{Connections: 4, Bytes: 1000}}
}

// TestFaults sees each limit found when it alone is broken.
func TestFaults(t *testing.T) {
	o := options{relaxed: 1, p99MS: 100, peakMB: 64, keptMB: 16}
	good := held()
	if found := o.faults(&good); len(found) > 0 {
		t.Fatalf("a good result has faults: %q", found)
	}
	for want, spoil := range map[string]func(r *result){
		"put p99":    func(r *result) { r.put99 = 101 * time.Millisecond },
		"get p99":    func(r *result) { r.get99 = 101 * time.Millisecond },
		"new client": func(r *result) { r.visit = 1001 * time.Millisecond },
		"3 new clients failed": func(r *result) {
			r.visitsFailed = 3
		},
		"2 requests failed": func(r *result) { r.requestsFailed = 2 },
		"memory peak":       func(r *result) { r.peak = 165 << 20 },
		"memory kept":       func(r *result) { r.after = 117 << 20 },
		"memory ran away":   func(r *result) { r.stopped = true },
		"server ended":      func(r *result) { r.ended = true },
		"serves nobody":     func(r *result) { r.serves = false },
		"no attack: lost":   func(r *result) { r.attackErr = errors.New("lost") },
		"nothing was sent":  func(r *result) { r.tally.Bytes = 0 },
		"odd answer":        func(r *result) { r.tally.Wrong = []string{"odd answer"} },
	} {
		r := held()
		spoil(&r)
		found := o.faults(&r)
		if len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("for %q is found %q", want, found)
		}
		if !strings.Contains(r.row(found), "**FAILED**: ") {
			t.Errorf("the row doesn't say so: %s", r.row(found))
		}
	}
	o.relaxed = 2
	slow := held()
	slow.put99, slow.visit = 190*time.Millisecond, 1900*time.Millisecond
	if found := o.faults(&slow); len(found) > 0 {
		t.Errorf("relaxed limits find %q", found)
	}
}

func TestQuantile(t *testing.T) {
	var s series
	if s.quantile(0.5) < time.Minute {
		t.Error("no requests at all look quick")
	}
	for i := 100; i > 0; i-- {
		s.add(time.Duration(i), nil)
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99,
		1: 100} {
		if got := s.quantile(share); got != want {
			t.Errorf("quantile %v is %d, not %d", share, got, want)
		}
	}
}

func TestBomb(t *testing.T) {
	made := bomb(64)
	if len(made) > 100<<10 {
		t.Errorf("a bomb of %d bytes", len(made))
	}
	z, err := gzip.NewReader(bytes.NewReader(made))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, z)
	if n != 64<<20 || err != nil {
		t.Errorf("unpacks to %d bytes, %v", n, err)
	}
}

// TestShapes sees that the lengths in the requests are those of what is hidden.
func TestShapes(t *testing.T) {
	for _, s := range smuggling {
		head, body, _ := strings.Cut(s.text, "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			value, ok := strings.CutPrefix(line, "Content-Length: ")
			n, err := strconv.Atoi(value)
			if ok && err == nil && n > 0 && value[0] != '+' &&
				n != len(body) && body[:min(n, len(body))] != "0\r\n\r\n" {
				t.Errorf("%s: %q, but the body has %d bytes", s.name, line,
					len(body))
			}
		}
	}
}

// TestBlocks sees that what is meant to be well-formed is.
func TestBlocks(t *testing.T) {
	bombField, bombNamed := bombParts()
	for name, block := range map[string][]byte{
		"literals":  literals(300, 27, 50),
		"bomb":      append(bytes.Clone(bombField), bombNamed...),
		"evictions": evictions(),
		"integer":   literal("x", bytes.Repeat([]byte("x"), 100000)),
	} {
		total := 0
		d := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
			total += len(f.Name) + len(f.Value)
		})
		if _, err := d.Write(block); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "bomb" && total < 50<<20 {
			t.Errorf("the bomb is only %d bytes", total)
		}
	}
	// 1337 with a prefix of 5 bits: RFC 7541, C.1.2.
	if got := hpackInt(0, 5, 1337); !bytes.Equal(got, []byte{31, 154, 10}) {
		t.Errorf("1337 is %v", got)
	}
}

// TestAttacksEnd plays each attack on somebody who takes everything and says
// nothing: it sends something, and is over in time.
func TestAttacksEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn); conn.Close() }()
		}
	}()
	names := map[string]bool{}
	for _, a := range attacks() {
		if names[a.name] {
			t.Errorf("two attacks are called %s", a.name)
		}
		names[a.name] = true
		t.Run(a.name, func(t *testing.T) { playBriefly(t, a, l.Addr().String()) })
	}
}

func playBriefly(t *testing.T, a attack, addr string) {
	const frames, bytes = 5000, 2 << 20
	const long = 300 * time.Millisecond
	began := time.Now()
	got := attackAll(order{Addr: addr, Time: long, Quick: true, Frames: frames,
		Bytes: bytes}, a)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if got.Bytes == 0 || got.Connections == 0 {
		t.Errorf("it sent nothing: %+v", got)
	}
	// The pace is kept, but for the little that goes out at once.
	if got.Frames > frames*4/10 || got.Bytes > bytes*4/10 {
		t.Errorf("it was too fast: %+v", got)
	}
}
