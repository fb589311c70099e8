package harness

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Transcript writes down what a server sends, frame by frame: what two servers
// have to have in common, without lengths, ids and the order of headers.
type Transcript struct {
	h       *H2
	decoder *hpack.Decoder
	fields  []string
	lines   []string
	pending map[uint32][]byte // DATA of which no whole message has come yet
	ended   map[uint32]bool
	closed  bool
	settled bool // the ping that ends the transcript has been answered
}

// Listen begins a transcript of the connection.
func (h *H2) Listen() *Transcript {
	t := &Transcript{h: h, pending: map[uint32][]byte{},
		ended: map[uint32]bool{}}
	t.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		// Which compressions a server would take is no part of an answer, and
		// no text is an empty one.
		if f.Name != "grpc-accept-encoding" &&
			(f.Name != "grpc-message" || f.Value != "") {
			t.fields = append(t.fields, f.Name+"="+f.Value)
		}
	})
	return t
}

func (t *Transcript) note(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

// messages takes whole gRPC messages out of what has come.
func (t *Transcript) messages(stream uint32) {
	data := t.pending[stream]
	for len(data) >= 5 {
		n := int(data[1])<<24 | int(data[2])<<16 | int(data[3])<<8 | int(data[4])
		if len(data) < 5+n {
			break
		}
		t.note("%d: message, flag %d", stream, data[0])
		data = data[5+n:]
	}
	t.pending[stream] = data
}

func (t *Transcript) headers(f *http2.HeadersFrame) {
	t.fields = nil
	_, _ = t.decoder.Write(f.HeaderBlockFragment())
	sort.Strings(t.fields)
	end := ""
	if f.StreamEnded() {
		end = ", end"
		t.ended[f.StreamID] = true
	}
	t.note("%d: headers %q%s", f.StreamID, t.fields, end)
}

var settled = [8]byte{'s', 'e', 't', 't', 'l', 'e', 'd'}

func (t *Transcript) frame(frame http2.Frame) {
	stream := frame.Header().StreamID
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = t.h.Framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = t.h.Framer.WritePing(true, f.Data)
		} else if f.Data == settled {
			t.settled = true
		}
	case *http2.HeadersFrame:
		t.headers(f)
	case *http2.DataFrame:
		t.pending[stream] = append(t.pending[stream], f.Data()...)
		t.messages(stream)
		if f.StreamEnded() {
			t.note("%d: end, %d bytes over", stream, len(t.pending[stream]))
			t.ended[stream] = true
		}
	case *http2.RSTStreamFrame:
		// Behind the end of a stream it says nothing more, and etcd sends it
		// or not as its threads happen to run.
		if !t.ended[stream] {
			t.note("%d: reset %v", stream, f.ErrCode)
		}
		t.ended[stream] = true
	case *http2.GoAwayFrame:
		t.note("go away %v %q", f.ErrCode, f.DebugData())
	}
}

// read takes frames in until `done`, the end of the connection or the limit;
// false for the limit.
func (t *Transcript) read(limit time.Duration, done func() bool) bool {
	_ = t.h.Conn.SetReadDeadline(time.Now().Add(limit))
	for !t.closed && !done() {
		frame, err := t.h.Framer.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			t.note("closed")
			t.closed = true
			break
		}
		t.frame(frame)
	}
	return true
}

// Await reads until the stream has ended, and notes when it doesn't.
func (t *Transcript) Await(stream uint32, limit time.Duration) {
	if !t.read(limit, func() bool { return t.ended[stream] }) {
		t.note("%d: waits", stream)
	}
}

// AwaitClose reads until the server closes the connection.
func (t *Transcript) AwaitClose(limit time.Duration) {
	if !t.read(limit, func() bool { return false }) {
		t.note("stays open")
	}
}

// String is what has come, with all that the server still has to say to what it
// was sent.
func (t *Transcript) String() string {
	_ = t.h.Framer.WritePing(false, settled)
	if !t.read(3*time.Second, func() bool { return t.settled }) {
		t.note("no answer to a ping")
	}
	return strings.Join(t.lines, "\n")
}
