package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var errOver = errors.New("the connection or the time is over")

// wire is an HTTP/2 connection on which any frame may be sent. Frames collect
// in a buffer that goes out when it is large enough, or by flush.
type wire struct {
	p    *player
	conn *pacedConn

	mu     sync.Mutex // of all below
	out    []byte
	frames int
	enc    *hpack.Encoder
	block  bytes.Buffer
	err    error
	next   uint32

	// What the peer lets us send; only data honours it.
	grown   *sync.Cond
	open    int64 // window of the connection
	initial int64
	windows map[uint32]int64 // what streams have more than initial

	// onData, if set before read begins, is told of each DATA frame.
	onData func(stream uint32, n int)
}

// raw opens a connection and does nothing with it but sending the preface and
// settings.
func (p *player) raw(settings ...http2.Setting) (*wire, error) {
	conn, err := p.dial()
	if err != nil {
		return nil, err
	}
	w := &wire{p: p, conn: conn, next: 1, open: 65535, initial: 65535,
		windows: map[uint32]int64{}}
	w.grown = sync.NewCond(&w.mu)
	w.enc = hpack.NewEncoder(&w.block)
	w.out = append(w.out, http2.ClientPreface...)
	w.settings(settings...)
	w.flush()
	return w, nil
}

// join opens a connection whose incoming frames are read and, where that is
// asked for, acknowledged.
func (p *player) join(settings ...http2.Setting) (*wire, error) {
	w, err := p.raw(settings...)
	if err != nil {
		return nil, err
	}
	go w.read()
	return w, nil
}

// deaf opens a connection from which nothing is read, with a small buffer in
// the kernel, and windows as large as they get.
func (p *player) deaf() (*wire, error) {
	w, err := p.raw(http2.Setting{ID: http2.SettingInitialWindowSize,
		Val: 1<<31 - 1})
	if err != nil {
		return nil, err
	}
	_ = w.conn.Conn.(*net.TCPConn).SetReadBuffer(4096)
	w.grow(0, 1<<31-1-65535)
	w.flush()
	return w, nil
}

func (w *wire) close() {
	w.flush()
	_ = w.conn.Close()
}

// ok says whether there is still somebody to send to.
func (w *wire) ok() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil && !w.p.over()
}

// hold keeps the connection as it is to the end.
func (w *wire) hold() error {
	w.flush()
	for w.ok() {
		w.p.wait(20 * time.Millisecond)
	}
	return errOver
}

// frame puts a frame into the buffer. Length and payload agree; forge does
// without.
func (w *wire) frame(kind http2.FrameType, flags http2.Flags, stream uint32,
	payload []byte) {
	w.forge(len(payload), kind, flags, stream, payload)
}

func (w *wire) forge(length int, kind http2.FrameType, flags http2.Flags,
	stream uint32, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, byte(length>>16), byte(length>>8), byte(length),
		byte(kind), byte(flags))
	w.out = binary.BigEndian.AppendUint32(w.out, stream)
	w.out = append(w.out, payload...)
	w.frames++
	if len(w.out) > 8192 || w.frames >= 250 {
		w.send()
	}
}

// flush sends what has collected.
func (w *wire) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send()
}

func (w *wire) send() {
	if w.err == nil && len(w.out) > 0 {
		_, w.err = w.conn.write(w.out, w.frames)
	}
	w.out, w.frames = w.out[:0], 0
}

func (w *wire) settings(settings ...http2.Setting) {
	var payload []byte
	for _, s := range settings {
		payload = binary.BigEndian.AppendUint16(payload, uint16(s.ID))
		payload = binary.BigEndian.AppendUint32(payload, s.Val)
	}
	w.frame(http2.FrameSettings, 0, 0, payload)
}

func (w *wire) grow(stream, by uint32) {
	w.frame(http2.FrameWindowUpdate, 0, stream,
		binary.BigEndian.AppendUint32(nil, by))
}

func (w *wire) reset(stream uint32, code http2.ErrCode) {
	w.frame(http2.FrameRSTStream, 0, stream,
		binary.BigEndian.AppendUint32(nil, uint32(code)))
}

// stream gives the next stream's id.
func (w *wire) stream() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next += 2
	return w.next - 2
}

// headerBlock encodes fields with the connection's table.
func (w *wire) headerBlock(fields []hpack.HeaderField) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.block.Reset()
	for _, f := range fields {
		_ = w.enc.WriteField(f)
	}
	return bytes.Clone(w.block.Bytes())
}

// call opens a stream for a gRPC call.
func (w *wire) call(path string, end bool, more ...hpack.HeaderField) uint32 {
	id := w.stream()
	flags := http2.FlagHeadersEndHeaders
	if end {
		flags |= http2.FlagHeadersEndStream
	}
	w.frame(http2.FrameHeaders, flags, id,
		w.headerBlock(append(grpcFields(path), more...)))
	return id
}

func grpcFields(path string) []hpack.HeaderField {
	return []hpack.HeaderField{{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "127.0.0.1"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"}}
}

// data sends a body the way an ordinary client does: in frames of 16 KiB at
// most, and no more than the windows have room for.
func (w *wire) data(stream uint32, body []byte, end bool) error {
	for first := true; first || len(body) > 0; first = false {
		n, err := w.room(stream, min(len(body), 16384))
		if err != nil {
			return err
		}
		flags := http2.Flags(0)
		if end && n == len(body) {
			flags = http2.FlagDataEndStream
		}
		w.frame(http2.FrameData, flags, stream, body[:n])
		body = body[n:]
	}
	return nil
}

// room waits until a part of so many bytes may be sent, and takes it.
func (w *wire) room(stream uint32, want int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for want > 0 {
		n := min(int64(want), w.open, w.initial+w.windows[stream])
		if n > 0 {
			w.open -= n
			w.windows[stream] -= n
			return int(n), nil
		}
		w.send()
		if w.err != nil || w.p.over() {
			return 0, errOver
		}
		w.grown.Wait()
	}
	return 0, nil
}

// read follows what the peer sends until the connection ends.
func (w *wire) read() {
	fr := http2.NewFramer(io.Discard, bufio.NewReader(w.conn))
	fr.AllowIllegalReads = true
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			w.lost(err)
			return
		}
		w.take(f)
	}
}

func (w *wire) lost(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		w.p.note(func(t *tally) { t.Cut++ })
	}
	if w.err == nil {
		w.err = errOver
	}
	w.grown.Broadcast()
	_ = w.conn.Close()
}

func (w *wire) take(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			w.mu.Lock()
			if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
				w.initial = int64(v)
			}
			w.grown.Broadcast()
			w.mu.Unlock()
			w.frame(http2.FrameSettings, http2.FlagSettingsAck, 0, nil)
			w.flush()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			w.frame(http2.FramePing, http2.FlagPingAck, 0, f.Data[:])
			w.flush()
		}
	case *http2.WindowUpdateFrame:
		w.mu.Lock()
		if f.StreamID == 0 {
			w.open += int64(f.Increment)
		} else {
			w.windows[f.StreamID] += int64(f.Increment)
		}
		w.grown.Broadcast()
		w.mu.Unlock()
	case *http2.DataFrame:
		if w.onData != nil {
			w.onData(f.StreamID, len(f.Data()))
		} else if f.Length > 0 {
			w.grow(0, f.Length)
		}
	case *http2.GoAwayFrame:
		w.p.said("GOAWAY " + f.ErrCode.String())
	case *http2.RSTStreamFrame:
		w.p.said("RST " + f.ErrCode.String())
	}
}

// message puts gRPC's prefix in front of a message.
func message(body []byte) []byte {
	out := make([]byte, 5, 5+len(body))
	binary.BigEndian.PutUint32(out[1:], uint32(len(body)))
	return append(out, body...)
}
