package main

import (
	"strings"
	"time"

	"golang.org/x/net/http2"
)

// Slow loris: many connections, each of which goes on, just barely.

var slowAttacks = []attack{
	{name: "slow-preface", play: func(p *player) error {
		return slowly(p, "", http2.ClientPreface)
	}},
	{name: "slow-headers", play: func(p *player) error {
		return slowly(p, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+
			"\x00\x10\x00\x01\x04\x00\x00\x00\x01", strings.Repeat("\x82", 4096))
	}},
	{name: "slow-body", play: slowBody},
	{name: "slow-http1", play: func(p *player) error {
		return slowly(p, "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ",
			strings.Repeat("s", 4096))
	}},
}

// slowly opens many connections and sends the rest of each a byte at a time.
func slowly(p *player, first, rest string) error {
	conns := make([]*pacedConn, 0, 200)
	for range p.size(200, 100) {
		conn, err := p.dial()
		if err != nil {
			break
		}
		defer conn.Close()
		if first != "" {
			_, _ = conn.Write([]byte(first))
		}
		conns = append(conns, conn)
	}
	for i := range len(rest) - 1 {
		for _, conn := range conns {
			_, _ = conn.Write([]byte{rest[i]})
		}
		if !p.wait(100 * time.Millisecond) {
			break
		}
	}
	p.wait(time.Until(p.end))
	return errOver
}

// slowBody has many calls on a connection, to each of which a byte is added now
// and then.
func slowBody(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	body := putMessage("abuse/slow", make([]byte, 60000))
	streams := make([]uint32, p.size(500, 200))
	for i := range streams {
		streams[i] = w.call(pathPut, false)
	}
	for i := 0; i < len(body)-1 && w.ok(); i++ {
		for _, id := range streams {
			if err := w.data(id, body[i:i+1], false); err != nil {
				return err
			}
		}
		w.flush()
		p.wait(50 * time.Millisecond)
	}
	return w.hold()
}
