package harness

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// H2 is a raw HTTP/2 connection on which anything may be sent.
type H2 struct {
	Conn   net.Conn
	Framer *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
}

// DialH2 opens a connection and sends the preface and empty settings.
func DialH2(t testing.TB, endpoint string) *H2 {
	t.Helper()
	conn, err := net.DialTimeout("tcp", endpoint, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h := &H2{Conn: conn, Framer: http2.NewFramer(conn, conn)}
	h.Framer.AllowIllegalWrites = true
	h.Framer.AllowIllegalReads = true
	h.hpack = hpack.NewEncoder(&h.block)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = h.Framer.WriteSettings()
	return h
}

// GRPCHeaders are those of a call; further ones, or others for the same
// names, may follow as pairs. An empty value takes the header out.
func GRPCHeaders(path string, more ...string) [][2]string {
	headers := [][2]string{{":method", "POST"}, {":scheme", "http"},
		{":path", path}, {":authority", "127.0.0.1"},
		{"content-type", "application/grpc"}, {"te", "trailers"}}
	for i := 0; i+1 < len(more); i += 2 {
		replaced := false
		for j := range headers {
			if headers[j][0] == more[i] {
				headers[j][1] = more[i+1]
				replaced = true
			}
		}
		if !replaced {
			headers = append(headers, [2]string{more[i], more[i+1]})
		}
	}
	return headers
}

// Block encodes headers.
func (h *H2) Block(headers [][2]string) []byte {
	h.block.Reset()
	for _, header := range headers {
		if header[1] != "" {
			_ = h.hpack.WriteField(hpack.HeaderField{Name: header[0],
				Value: header[1]})
		}
	}
	return bytes.Clone(h.block.Bytes())
}

// Open sends the headers of a request.
func (h *H2) Open(stream uint32, end bool, headers [][2]string) {
	_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream,
		BlockFragment: h.Block(headers), EndStream: end, EndHeaders: true})
}

// Message frames a gRPC message.
func Message(flag byte, body []byte) []byte {
	frame := make([]byte, 5, 5+len(body))
	frame[0] = flag
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
	return append(frame, body...)
}

// Outcome is how a call on a raw connection ended.
type Outcome struct {
	HTTP    string // the :status
	GRPC    string // the grpc-status
	Text    string // the grpc-message
	Reset   bool   // RST_STREAM came
	Closed  bool   // GOAWAY or the end of the connection came
	Timeout bool   // none of these
}

func (o Outcome) String() string {
	return fmt.Sprintf("http %q grpc %q %q reset %v closed %v timeout %v",
		o.HTTP, o.GRPC, o.Text, o.Reset, o.Closed, o.Timeout)
}

// OK says whether the call succeeded.
func (o Outcome) OK() bool { return o.GRPC == "0" }

// Await reads until the stream has ended in some way, and answers pings and
// settings meanwhile.
func (h *H2) Await(stream uint32, limit time.Duration) (o Outcome) {
	_ = h.Conn.SetReadDeadline(time.Now().Add(limit))
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		switch f.Name {
		case ":status":
			o.HTTP = f.Value
		case "grpc-status":
			o.GRPC = f.Value
		case "grpc-message":
			o.Text = f.Value
		}
	})
	for {
		frame, err := h.Framer.ReadFrame()
		if err != nil {
			o.Timeout = errors.Is(err, os.ErrDeadlineExceeded)
			o.Closed = !o.Timeout
			return o
		}
		mine := frame.Header().StreamID == stream
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = h.Framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = h.Framer.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			_, _ = decoder.Write(f.HeaderBlockFragment())
			if mine && f.StreamEnded() {
				return o
			}
		case *http2.DataFrame:
			if mine && f.StreamEnded() {
				return o
			}
		case *http2.RSTStreamFrame:
			if mine {
				o.Reset = true
				return o
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				o.Closed = true
				return o
			}
		}
	}
}

// OpenFiles is the number of descriptors that the process has open.
func (s *Server) OpenFiles() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Pid()))
	if err != nil {
		return -1
	}
	return len(entries)
}
