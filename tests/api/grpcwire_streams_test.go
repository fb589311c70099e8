package api

import (
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"chorad.tests/api/harness"
)

// What TestGRPCWire does with the streams of a connection, and the ends of
// connections.

// thenRange makes a whole call on stream 3, as a client that goes on would.
func thenRange(h *harness.H2, t *harness.Transcript) string {
	h.Open(3, false, harness.GRPCHeaders(wireRange))
	_ = h.Framer.WriteData(3, true, harness.Message(0, rangeBody()))
	t.Await(3, wirePatience)
	return t.String()
}

func wireStreams() []wireCase {
	whole := harness.Message(0, rangeBody())
	open := func(h *harness.H2, path string) {
		h.Open(1, false, harness.GRPCHeaders(path))
	}
	return []wireCase{
		{"trailers of the client", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			_ = h.Framer.WriteData(1, false, whole)
			h.Open(1, true, [][2]string{{"x", "y"}})
			t.Await(1, wirePatience)
			return thenRange(h, t)
		}},
		{"trailers that don't end the stream", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			_ = h.Framer.WriteData(1, false, whole)
			h.Open(1, false, [][2]string{{"x", "y"}})
			t.Await(1, wirePatience)
			return thenRange(h, t)
		}},
		{"trailers with a pseudo-header", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			_ = h.Framer.WriteData(1, false, whole)
			h.Open(1, true, [][2]string{{":path", "/x"}})
			t.Await(1, wirePatience)
			return thenRange(h, t)
		}},
		{"padded data", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			_ = h.Framer.WriteDataPadded(1, true, whole, make([]byte, 100))
			t.Await(1, wirePatience)
			return t.String()
		}},
		{"a message and no end", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			_ = h.Framer.WriteData(1, false, whole)
			t.Await(1, wirePatience)
			return t.String()
		}},
		{"headers alone", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			t.Await(1, wirePatience)
			return t.String()
		}},
		{"unknown method and no end", func(h *harness.H2) string {
			t := h.Listen()
			open(h, "/a/b")
			t.Await(1, wirePatience)
			return thenRange(h, t)
		}},
		{"no gRPC and no end", func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireRange, "content-type",
				"text/plain"))
			t.Await(1, wirePatience)
			return thenRange(h, t)
		}},
		{"too long a message and no end", func(h *harness.H2) string {
			t := h.Listen()
			open(h, wireRange)
			_ = h.Framer.WriteData(1, false, []byte{0, 1, 0, 0, 0})
			t.Await(1, wirePatience)
			return thenRange(h, t)
		}},
		{"headers in pieces", func(h *harness.H2) string {
			t := h.Listen()
			block := h.Block(harness.GRPCHeaders(wireRange))
			_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
				BlockFragment: block[:3]})
			_ = h.Framer.WriteContinuation(1, false, block[3:9])
			_ = h.Framer.WriteContinuation(1, true, block[9:])
			_ = h.Framer.WriteData(1, true, whole)
			t.Await(1, wirePatience)
			return t.String()
		}},
		{"headers with a priority", func(h *harness.H2) string {
			t := h.Listen()
			_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
				BlockFragment: h.Block(harness.GRPCHeaders(wireRange)),
				EndHeaders:    true, PadLength: 7,
				Priority: http2.PriorityParam{Weight: 9}})
			_ = h.Framer.WriteData(1, true, whole)
			t.Await(1, wirePatience)
			return t.String()
		}},
	}
}

// wireResets are calls that the client gives up at each of their states: no
// word follows about them, and the next call is served.
func wireResets() []wireCase {
	whole := harness.Message(0, rangeBody())
	reset := func(h *harness.H2) {
		_ = h.Framer.WriteRSTStream(1, http2.ErrCodeCancel)
	}
	var cases []wireCase
	for _, c := range []struct {
		name, path string
		end        bool
		data       []byte
	}{
		{"headers", wireRange, false, nil},
		{"headers with the end", wireWatch, true, nil},
		{"part of a message", wireRange, false, whole[:7]},
		{"part of a watch", wireWatch, false, whole[:7]},
	} {
		cases = append(cases, wireCase{"reset after " + c.name,
			func(h *harness.H2) string {
				t := h.Listen()
				h.Open(1, c.end, harness.GRPCHeaders(c.path))
				if c.data != nil {
					_ = h.Framer.WriteData(1, false, c.data)
				}
				if !c.end {
					// Let it be a call before it ends.
					time.Sleep(50 * time.Millisecond)
				}
				reset(h)
				return thenRange(h, t)
			}})
	}
	return append(cases,
		wireCase{"reset of a watch", func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireWatch))
			_ = h.Framer.WriteData(1, false, harness.Message(0, watchBody()))
			t.Await(1, 300*time.Millisecond)
			reset(h)
			return thenRange(h, t)
		}},
		wireCase{"reset after the answer", func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireRange))
			_ = h.Framer.WriteData(1, true, whole)
			t.Await(1, wirePatience)
			reset(h)
			return thenRange(h, t)
		}},
		wireCase{"data after a reset", func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireRange))
			reset(h)
			_ = h.Framer.WriteData(1, true, whole)
			return thenRange(h, t)
		}})
}

func pings(h *harness.H2, n int) {
	for i := range n {
		_ = h.Framer.WritePing(false, [8]byte{byte(i)})
		time.Sleep(20 * time.Millisecond)
	}
}

func wirePings() []wireCase {
	return []wireCase{
		{"two pings", func(h *harness.H2) string {
			t := h.Listen()
			pings(h, 2)
			return t.String()
		}},
		{"too many pings", func(h *harness.H2) string {
			t := h.Listen()
			pings(h, 6)
			t.AwaitClose(wirePatience)
			return t.String()
		}},
		{"too many pings with a stream", func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireWatch))
			time.Sleep(100 * time.Millisecond)
			pings(h, 6)
			t.AwaitClose(wirePatience)
			return t.String()
		}},
	}
}

// wireStops are the names of what TestGRPCWireFlags and TestGRPCWireStop
// compare.
var wireStops = map[string]bool{"pings allowed": true,
	"one stream too many": true, "stop with nothing open": true,
	"stop with a watch": true, "stop with a call half sent": true}

// TestGRPCWireFlags has flags that change what a connection may do.
func TestGRPCWireFlags(t *testing.T) {
	args := []string{"--grpc-keepalive-min-time", "5ms",
		"--max-concurrent-streams", "2"}
	tested := harness.Start(t, harness.Options{Args: args})
	etcd := harness.Start(t, harness.Options{Args: args,
		Binary: harness.Tool(t, "etcd")})
	for _, c := range []wireCase{
		{"pings allowed", func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireWatch))
			pings(h, 8)
			return thenRange(h, t)
		}},
		{"one stream too many", func(h *harness.H2) string {
			t := h.Listen()
			for _, stream := range []uint32{1, 3, 5} {
				h.Open(stream, false, harness.GRPCHeaders(wireWatch))
			}
			t.Await(5, wirePatience)
			return t.String()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothWires(t, tested, etcd, c, wireDiffers(t))
		})
	}
}

// TestGRPCWireStop ends both servers and compares what the clients are told.
func TestGRPCWireStop(t *testing.T) {
	names := []string{"stop with nothing open", "stop with a watch",
		"stop with a call half sent"}
	heard := func(s *harness.Server) (told [3]string) {
		var connections [3]*harness.H2
		for i := range connections {
			connections[i] = harness.DialH2(t, s.Endpoint)
		}
		connections[1].Open(1, false, harness.GRPCHeaders(wireWatch))
		_ = connections[1].Framer.WriteData(1, false,
			harness.Message(0, watchBody()))
		connections[2].Open(1, false, harness.GRPCHeaders(wireRange))
		time.Sleep(500 * time.Millisecond)
		if err := s.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for i, h := range connections {
			transcript := h.Listen()
			transcript.AwaitClose(8 * time.Second)
			told[i] = transcript.String()
		}
		return told
	}
	tested := harness.Start(t, harness.Options{})
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	want, got := heard(etcd), heard(tested)
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			compareWire(t, tested, name, got[i], want[i], wireDiffers(t))
		})
	}
}
