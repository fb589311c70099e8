package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn is a gRPC client connection that costs little: on two cores, what the
// client takes is missing on the server's side.
type conn struct {
	net    net.Conn
	token  string // of who is logged in, set before the first call
	reader *bufio.Reader

	mu     sync.Mutex
	writer *bufio.Writer
	framer *http2.Framer
	hpack  *hpack.Encoder
	block  bytes.Buffer
	next   uint32
	calls  map[uint32]*call
	queue  []outgoing // what the server's window doesn't let through yet
	window int64
	err    error
}

// call is one RPC. Its functions run on the connection's reading goroutine.
type call struct {
	path      string
	began     time.Time
	onMessage func([]byte)
	onEnd     func(*call, error)
	id        uint32
	status    string
	message   string
	partial   []byte
}

type outgoing struct {
	call *call
	body []byte
	end  bool
}

var errGone = errors.New("the connection has ended")

const receiveWindow = 1 << 30

func dial(addr string) (*conn, error) {
	nc, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &conn{net: nc, reader: bufio.NewReaderSize(nc, 256<<10),
		writer: bufio.NewWriterSize(nc, 64<<10), next: 1,
		calls: map[uint32]*call{}, window: 65535}
	c.hpack = hpack.NewEncoder(&c.block)
	c.framer = http2.NewFramer(c.writer, c.reader)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, _ = io.WriteString(c.writer, http2.ClientPreface)
	_ = c.framer.WriteSettings(http2.Setting{
		ID: http2.SettingInitialWindowSize, Val: receiveWindow})
	_ = c.framer.WriteWindowUpdate(0, receiveWindow)
	if err := c.writer.Flush(); err != nil {
		nc.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func dialAll(addr string, n int) ([]*conn, error) {
	var conns []*conn
	for range n {
		c, err := dial(addr)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

func (c *conn) close() {
	c.net.Close()
}

// submit starts a call, or sends another message of it. It goes out with the
// next flush at the latest; end says that no further message follows.
func (c *conn) submit(k *call, body []byte, end bool) {
	c.mu.Lock()
	err := c.err
	if err == nil {
		c.queue = append(c.queue, outgoing{k, body, end})
		c.pump()
	}
	c.mu.Unlock()
	if err != nil && k.id == 0 {
		k.onEnd(k, err)
	}
}

func (c *conn) flush() {
	c.mu.Lock()
	_ = c.writer.Flush()
	c.mu.Unlock()
}

// pump writes what the window allows, in order.
func (c *conn) pump() {
	done := 0
	for _, o := range c.queue {
		size := int64(len(o.body) + 5)
		if size > c.window {
			break
		}
		c.window -= size
		c.write(o)
		done++
	}
	c.queue = c.queue[:copy(c.queue, c.queue[done:])]
}

func (c *conn) write(o outgoing) {
	if o.call.id == 0 {
		o.call.id = c.next
		c.next += 2
		c.calls[o.call.id] = o.call
		c.block.Reset()
		for _, h := range [][2]string{{":method", "POST"},
			{":scheme", "http"}, {":path", o.call.path},
			{":authority", "127.0.0.1"}, {"content-type", "application/grpc"},
			{"te", "trailers"}} {
			_ = c.hpack.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		if c.token != "" {
			_ = c.hpack.WriteField(hpack.HeaderField{Name: "token",
				Value: c.token})
		}
		_ = c.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: o.call.id, BlockFragment: c.block.Bytes(),
			EndHeaders: true})
	}
	message := make([]byte, 5, 5+len(o.body))
	binary.BigEndian.PutUint32(message[1:], uint32(len(o.body)))
	_ = c.framer.WriteData(o.call.id, o.end, append(message, o.body...))
}

func (c *conn) read() {
	var err error
	consumed := uint32(0)
	for err == nil {
		// Replies to what has been read go out before waiting for more.
		if c.reader.Buffered() == 0 {
			c.flush()
		}
		var frame http2.Frame
		if frame, err = c.framer.ReadFrame(); err != nil {
			break
		}
		switch f := frame.(type) {
		case *http2.DataFrame:
			consumed += f.Length
			if consumed > receiveWindow/2 {
				c.control(func() {
					_ = c.framer.WriteWindowUpdate(0, consumed)
				})
				consumed = 0
			}
			c.data(f)
		case *http2.MetaHeadersFrame:
			c.headers(f)
		case *http2.RSTStreamFrame:
			c.finish(f.StreamID, fmt.Errorf("reset: %v", f.ErrCode))
		case *http2.GoAwayFrame:
			err = fmt.Errorf("go away: %v %s", f.ErrCode, f.DebugData())
		case *http2.PingFrame:
			if !f.IsAck() {
				c.control(func() { _ = c.framer.WritePing(true, f.Data) })
			}
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.control(func() { _ = c.framer.WriteSettingsAck() })
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				c.control(func() {
					c.window += int64(f.Increment)
					c.pump()
				})
			}
		}
	}
	c.fail(err)
}

func (c *conn) control(f func()) {
	c.mu.Lock()
	f()
	c.mu.Unlock()
}

func (c *conn) find(id uint32) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[id]
}

func (c *conn) data(f *http2.DataFrame) {
	k := c.find(f.StreamID)
	if k == nil || k.onMessage == nil {
		return
	}
	b := f.Data()
	if len(k.partial) > 0 {
		k.partial = append(k.partial, b...)
		b = k.partial
	}
	for len(b) >= 5 {
		size := int(binary.BigEndian.Uint32(b[1:5]))
		if len(b) < 5+size {
			break
		}
		k.onMessage(b[5 : 5+size])
		b = b[5+size:]
	}
	k.partial = append(k.partial[:0], b...)
}

func (c *conn) headers(f *http2.MetaHeadersFrame) {
	k := c.find(f.StreamID)
	if k == nil {
		return
	}
	for _, h := range f.Fields {
		switch h.Name {
		case "grpc-status":
			k.status = h.Value
		case "grpc-message":
			k.message = h.Value
		}
	}
	if f.StreamEnded() {
		var err error
		if k.status != "0" {
			err = fmt.Errorf("%s: status %q, %s", k.path, k.status, k.message)
		}
		c.finish(f.StreamID, err)
	}
}

func (c *conn) finish(id uint32, err error) {
	c.mu.Lock()
	k := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if k != nil {
		k.onEnd(k, err)
	}
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	c.err = errors.Join(errGone, err)
	left := c.calls
	c.calls = map[uint32]*call{}
	for _, o := range c.queue {
		if o.call.id == 0 {
			o.call.id = c.next
			c.next += 2
			left[o.call.id] = o.call
		}
	}
	c.queue = nil
	c.mu.Unlock()
	c.net.Close()
	for _, k := range left {
		k.onEnd(k, c.err)
	}
}

// unary makes one call and waits for its answer.
func (c *conn) unary(ctx context.Context, path string, body []byte) ([]byte,
	error) {
	var reply []byte
	ended := make(chan error, 1)
	c.submit(&call{path: path,
		onMessage: func(b []byte) { reply = bytes.Clone(b) },
		onEnd:     func(_ *call, err error) { ended <- err }}, body, true)
	c.flush()
	select {
	case err := <-ended:
		return reply, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// drain makes one call and counts the bytes that come until its end.
func (c *conn) drain(ctx context.Context, path string) (int64, error) {
	var size int64
	ended := make(chan error, 1)
	c.submit(&call{path: path,
		onMessage: func(b []byte) { size += int64(len(b)) },
		onEnd:     func(_ *call, err error) { ended <- err }}, nil, true)
	c.flush()
	select {
	case err := <-ended:
		return size, err
	case <-ctx.Done():
		return size, ctx.Err()
	}
}
