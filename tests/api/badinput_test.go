package api

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"

	"chorad.tests/api/harness"
)

// TestBadInput sends what no proper client sends. The server has to stay up,
// to serve everybody else meanwhile, and to let go of what it held.
func TestBadInput(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	served(t, s)
	files := s.OpenFiles()
	for _, part := range []struct {
		name string
		run  func(*testing.T, *harness.Server)
	}{
		{"garbage", testGarbage},
		{"half open", testHalfOpen},
		{"HTTP/1", testHTTP1},
		{"HTTP/2 frames", testFrames},
		{"HTTP/2 floods", testFloods},
		{"gRPC frames", testGRPCFrames},
		{"metadata", testMetadata},
		{"message bodies", testBodies},
		{"nesting", testNesting},
		{"idle connections", testIdle},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.run(t, s)
			served(t, s)
		})
	}
	if !harness.Eventually(20*time.Second, func() bool {
		return s.OpenFiles() <= files+20
	}) {
		t.Errorf("%d descriptors are open, before it were %d", s.OpenFiles(),
			files)
	}
}

// served sees that a new client gets its answers at once.
func served(t *testing.T, s *harness.Server) {
	t.Helper()
	if !s.Alive() {
		t.Fatalf("the server has ended: %v\n%s", s.ExitError(), s.LogTail(20))
	}
	client := httpClient(t, s)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	value := fmt.Sprint(rand.Int())
	if _, err := client.Put(ctx, "other", value); err != nil {
		t.Fatalf("others aren't served: put: %v", err)
	}
	got, err := client.Get(ctx, "other")
	if err != nil || string(got.Kvs[0].Value) != value {
		t.Fatalf("others aren't served: get: %v, %v", got, err)
	}
	if p := fetch(t, "GET", s.ClientURL+"/health"); p.Status != 200 {
		t.Fatalf("/health gives %+v", p)
	}
}

func connect(t *testing.T, s *harness.Server) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.Endpoint, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func noise(rng *rand.Rand, n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	return string(out)
}

func testGarbage(t *testing.T, s *harness.Server) {
	rng := rand.New(rand.NewPCG(seed(), 0))
	inputs := []string{"", "\x00", "\n", "P", "PRI * HTTP/2.0",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
		"PRI * HTTP/1.1\r\n\r\n", strings.Repeat("A", 200000),
		strings.Repeat("\x00", 200000), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc" +
			noise(rng, 512), "SSH-2.0-x\r\n", "*1\r\n$4\r\nPING\r\n"}
	for range 40 {
		inputs = append(inputs, noise(rng, 1+rng.IntN(3000)),
			http2.ClientPreface+noise(rng, 1+rng.IntN(3000)))
	}
	for _, input := range inputs {
		conn := connect(t, s)
		_, _ = io.WriteString(conn, input)
		if rng.IntN(2) == 0 {
			_ = conn.(*net.TCPConn).CloseWrite()
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, _ = io.Copy(io.Discard, conn)
		}
		conn.Close()
	}
}

func testHalfOpen(t *testing.T, s *harness.Server) {
	for i := range 300 {
		conn := connect(t, s)
		_, _ = io.WriteString(conn, []string{"", "P", "PRI * HT", "G",
			"GET /health HTTP/1.1\r\nHost: x\r\n", http2.ClientPreface,
			http2.ClientPreface + "\x00\x00\x08"}[i%7])
	}
	served(t, s)
	before := s.CPU()
	time.Sleep(time.Second)
	if used := s.CPU() - before; used > 300*time.Millisecond {
		t.Errorf("connections that wait cost %v of CPU in a second", used)
	}
}

func testHTTP1(t *testing.T, s *harness.Server) {
	for input, statuses := range map[string]string{
		"GET /health HTTP/1.0\r\n\r\n":                                   "200",
		"GET /health HTTP/1.1\r\nHost: x\r\n\r\n":                        "200",
		"GET /health HTTP/1.1\r\n\r\n":                                   "400 200",
		"GET /health\r\n\r\n":                                            "400 505",
		"BREW /health HTTP/1.1\r\nHost: x\r\n\r\n":                       "405 400 501",
		"GET /health HTTP/9.9\r\nHost: x\r\n\r\n":                        "505 400",
		"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n":                           "400 404",
		"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n":                           "400 404",
		"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n":              "301 307 400 404",
		"GET /health HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n":          "400 200",
		"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n": "400 405",
		"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999" +
			"\r\n\r\n": "400 405 413",
		"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"zz\r\n": "400 405",
		"GET /" + strings.Repeat("a", 3<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n": "414 431 400 413",
		"GET /health HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 3<<20) +
			"\r\n\r\n": "431 400 413",
	} {
		conn := connect(t, s)
		go func() { _, _ = io.WriteString(conn, input) }()
		reply := make([]byte, 12)
		n, err := io.ReadFull(conn, reply)
		conn.Close()
		status := strings.TrimPrefix(strings.TrimPrefix(string(reply[:n]),
			"HTTP/1.1 "), "HTTP/1.0 ")
		// To close the connection is an answer to all but the good ones.
		closed := n == 0 && err != nil && !strings.HasPrefix(statuses, "200")
		if net, ok := err.(net.Error); ok && net.Timeout() {
			closed = false
		}
		if !closed && (status == "" || !strings.Contains(statuses, status)) {
			t.Errorf("%.70q gives %q, %v; wanted one of %s", input, reply[:n],
				err, statuses)
		}
	}
	conn := connect(t, s)
	_, _ = io.WriteString(conn, strings.Repeat(
		"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 19)+
		"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	all, _ := io.ReadAll(conn)
	if n := strings.Count(string(all), `{"health":"true"`); n != 20 {
		t.Errorf("20 requests in a row get %d answers", n)
	}
}

// rule is what a frame does to its connection.
type rule int

const (
	mayEnd rule = iota
	mustEnd
	goesOn
)

// testFrames breaks the rules of HTTP/2, each on a connection of its own.
// What leaves the two sides with different views of the connection has to end
// it; with some other errors the transports are more patient.
func testFrames(t *testing.T, s *harness.Server) {
	put := "/etcdserverpb.KV/Put"
	for _, c := range []struct {
		name string
		rule rule
		send func(*harness.H2)
	}{
		{"data on stream 0", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FrameData, 0, 0, []byte("x"))
		}},
		{"data on an idle stream", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteData(5, true, []byte("x"))
		}},
		{"headers on stream 0", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FrameHeaders, 4, 0,
				h.Block(harness.GRPCHeaders(put)))
		}},
		{"headers on an even stream", mayEnd, func(h *harness.H2) {
			h.Open(2, true, harness.GRPCHeaders(put))
		}},
		{"stream ids going down", mayEnd, func(h *harness.H2) {
			h.Open(9, false, harness.GRPCHeaders(put))
			h.Open(3, false, harness.GRPCHeaders(put))
		}},
		{"frame over the size limit", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FrameSettings, 0, 0,
				make([]byte, 6*200000))
		}},
		{"settings of odd length", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FrameSettings, 0, 0,
				make([]byte, 7))
		}},
		{"settings on a stream", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FrameSettings, 0, 3,
				make([]byte, 6))
		}},
		{"window over 2^31-1 in settings", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteSettings(http2.Setting{
				ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"short ping", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7))
		}},
		{"window update of 0", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(http2.FrameWindowUpdate, 0, 0,
				make([]byte, 4))
		}},
		{"window overflow", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteWindowUpdate(0, 1<<31-1)
			_ = h.Framer.WriteWindowUpdate(0, 1<<31-1)
		}},
		{"continuation alone", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteContinuation(1, true, []byte{0x82})
		}},
		{"headers, then something else", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
				BlockFragment: h.Block(harness.GRPCHeaders(put))})
			_ = h.Framer.WritePing(false, [8]byte{})
		}},
		{"bad header compression", mustEnd, func(h *harness.H2) {
			_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
				BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
				EndHeaders:    true, EndStream: true})
		}},
		{"padding longer than the frame", mayEnd, func(h *harness.H2) {
			h.Open(1, false, harness.GRPCHeaders(put))
			_ = h.Framer.WriteRawFrame(http2.FrameData, 8, 1,
				[]byte{200, 1, 2})
		}},
		{"push from a client", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WritePushPromise(http2.PushPromiseParam{StreamID: 1,
				PromiseID: 2, BlockFragment: []byte{0x82}, EndHeaders: true})
		}},
		{"unknown frame type", goesOn, func(h *harness.H2) {
			_ = h.Framer.WriteRawFrame(0x77, 0xff, 0, make([]byte, 100))
		}},
		{"unknown settings", goesOn, func(h *harness.H2) {
			_ = h.Framer.WriteSettings(http2.Setting{ID: 0x777, Val: 1})
		}},
		{"reset of an idle stream", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteRSTStream(7, http2.ErrCodeCancel)
		}},
		{"goaway from the client", mayEnd, func(h *harness.H2) {
			_ = h.Framer.WriteGoAway(0, http2.ErrCodeNo, nil)
		}},
	} {
		h := harness.DialH2(t, s.Endpoint)
		c.send(h)
		// What isn't an error leaves the connection usable.
		if c.rule == goesOn {
			h.Open(11, false, harness.GRPCHeaders("/etcdserverpb.KV/Range"))
			_ = h.Framer.WriteData(11, true, harness.Message(0,
				[]byte{0x0a, 1, 'a'}))
		}
		o := h.Await(11, time.Second)
		h.Conn.Close()
		switch {
		case c.rule == mustEnd && !o.Closed:
			t.Errorf("%s: the connection goes on: %v", c.name, o)
		case c.rule == goesOn && !o.OK():
			t.Errorf("%s: a call after it gives %v", c.name, o)
		}
		served(t, s)
		t.Logf("%s: %v", c.name, o)
	}
}

// testFloods sends masses of frames that cost the server more than the
// client. It may end the connection, and has to serve the others.
func testFloods(t *testing.T, s *harness.Server) {
	watch := "/etcdserverpb.Watch/Watch"
	before := s.RSS()
	for name, send := range map[string]func(*harness.H2) error{
		"settings": func(h *harness.H2) error { return h.Framer.WriteSettings() },
		"pings": func(h *harness.H2) error {
			return h.Framer.WritePing(false, [8]byte{1})
		},
		"empty data": func(h *harness.H2) error {
			return h.Framer.WriteData(1, false, nil)
		},
		"window updates": func(h *harness.H2) error {
			return h.Framer.WriteWindowUpdate(1, 1)
		},
		"continuations": func(h *harness.H2) error {
			return h.Framer.WriteContinuation(3, false, []byte{})
		},
	} {
		h := harness.DialH2(t, s.Endpoint)
		h.Open(1, false, harness.GRPCHeaders(watch))
		if name == "continuations" {
			_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3,
				BlockFragment: h.Block(harness.GRPCHeaders(watch))})
		}
		go func() { _, _ = io.Copy(io.Discard, h.Conn) }()
		for range 20000 {
			if send(h) != nil {
				break
			}
		}
		h.Conn.Close()
		served(t, s)
	}
	h := harness.DialH2(t, s.Endpoint)
	go func() { _, _ = io.Copy(io.Discard, h.Conn) }()
	for i := range uint32(5000) {
		h.Open(2*i+1, false, harness.GRPCHeaders(watch))
		if h.Framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			break
		}
	}
	h.Conn.Close()
	if grown := s.RSS() - before; grown > int64(harness.Slack())*200<<20 {
		t.Errorf("the floods have cost %d MiB", grown>>20)
	}
}

// unary makes one raw call and gives its outcome.
func unary(t *testing.T, s *harness.Server, data []byte, path string,
	more ...string) harness.Outcome {
	t.Helper()
	h := harness.DialH2(t, s.Endpoint)
	defer h.Conn.Close()
	h.Open(1, false, harness.GRPCHeaders(path, more...))
	for len(data) > 16384 {
		_ = h.Framer.WriteData(1, false, data[:16384])
		data = data[16384:]
	}
	_ = h.Framer.WriteData(1, true, data)
	return h.Await(1, 8*time.Second)
}

func testGRPCFrames(t *testing.T, s *harness.Server) {
	const path = "/etcdserverpb.KV/Range"
	good := []byte{0x0a, 1, 'a'}
	longer := harness.Message(0, good)
	binary.BigEndian.PutUint32(longer[1:], 100)
	huge := harness.Message(0, good)
	binary.BigEndian.PutUint32(huge[1:], 0xffffffff)
	if o := unary(t, s, harness.Message(0, good), path); !o.OK() {
		t.Fatalf("a good call gives %v", o)
	}
	before := s.RSS()
	// The transports differ in how much they look at; where the message is
	// whole for all that, it may be served.
	const lenient = true
	for _, c := range []struct {
		name    string
		data    []byte
		path    string
		more    []string
		lenient bool
	}{
		{"no message", nil, path, nil, false},
		{"half a prefix", []byte{0, 0, 0}, path, nil, false},
		{"prefix alone", []byte{0, 0, 0, 0, 3}, path, nil, false},
		{"message shorter than said", longer, path, nil, false},
		{"message of 4 GiB", huge, path, nil, false},
		{"compressed without encoding", harness.Message(1, good), path, nil, lenient},
		{"unknown flag", harness.Message(7, good), path, nil, false},
		{"garbage as gzip", harness.Message(1, good), path,
			[]string{"grpc-encoding", "gzip"}, false},
		{"unknown encoding", harness.Message(1, good), path,
			[]string{"grpc-encoding", "nothing"}, lenient},
		{"other content type", harness.Message(0, good), path,
			[]string{"content-type", "text/html"}, lenient},
		{"no content type", harness.Message(0, good), path,
			[]string{"content-type", ""}, lenient},
		{"GET", harness.Message(0, good), path, []string{":method", "GET"}, false},
		{"no path", harness.Message(0, good), path, []string{":path", ""}, false},
		{"path without slash", harness.Message(0, good), "x", nil, false},
		{"empty service", harness.Message(0, good), "//", nil, false},
		{"long path", harness.Message(0, good),
			"/" + strings.Repeat("x", 7000), nil, false},
		{"bad timeout", harness.Message(0, good), path,
			[]string{"grpc-timeout", "soon"}, lenient},
		{"garbage as message", harness.Message(0, []byte("\xff\xff\xff\xff")),
			path, nil, false},
	} {
		o := unary(t, s, c.data, c.path, c.more...)
		if (o.OK() && !c.lenient) || o.Timeout {
			t.Errorf("%s: %v", c.name, o)
		}
		t.Logf("%s: %v", c.name, o)
	}
	if grown := s.RSS() - before; grown > int64(harness.Slack())*300<<20 {
		t.Errorf("these calls have cost %d MiB", grown>>20)
	}
	// A call that is given up half-way leaves the connection in order.
	h := harness.DialH2(t, s.Endpoint)
	h.Open(1, false, harness.GRPCHeaders("/etcdserverpb.KV/Put"))
	_ = h.Framer.WriteData(1, false, longer)
	_ = h.Framer.WriteRSTStream(1, http2.ErrCodeCancel)
	h.Open(3, false, harness.GRPCHeaders(path))
	_ = h.Framer.WriteData(3, true, harness.Message(0, good))
	if o := h.Await(3, 5*time.Second); !o.OK() {
		t.Errorf("after a call given up: %v", o)
	}
}

func testMetadata(t *testing.T, s *harness.Server) {
	const path = "/etcdserverpb.KV/Range"
	good := harness.Message(0, []byte{0x0a, 1, 'a'})
	o := unary(t, s, good, path, "client-api-version", "3.\xff\xfe")
	if !strings.HasPrefix(o.Text, "etcdserver: invalid client api version") ||
		o.GRPC != "3" {
		// A transport may refuse such a header by itself.
		if o.OK() || o.Timeout {
			t.Errorf("invalid UTF-8 as API version: %v", o)
		}
	}
	t.Logf("invalid UTF-8 as API version: %v", o)
	for _, more := range [][]string{{"client-api-version", "3.7"},
		{"token", "nobody.knows"}, {"authorization", "Bearer x"},
		{"hasleader", "true"}, {"hasleader", "maybe"},
		{"x-bin", "AAEC"}, {"user-agent", strings.Repeat("x", 3000)}} {
		if o := unary(t, s, good, path, more...); !o.OK() {
			t.Errorf("%.60v: %v", more, o)
		}
	}
	var many []string
	for i := range 4000 {
		many = append(many, fmt.Sprint("x-", i), strings.Repeat("v", 100))
	}
	if o := unaryMany(t, s, good, path, many); o.Timeout {
		t.Errorf("400 KB of metadata: %v", o)
	}
}

// unaryMany sends headers that don't fit one frame.
func unaryMany(t *testing.T, s *harness.Server, data []byte, path string,
	more []string) harness.Outcome {
	t.Helper()
	h := harness.DialH2(t, s.Endpoint)
	defer h.Conn.Close()
	block := h.Block(harness.GRPCHeaders(path, more...))
	_ = h.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
		BlockFragment: block[:16000]})
	for block = block[16000:]; len(block) > 16000; block = block[16000:] {
		_ = h.Framer.WriteContinuation(1, false, block[:16000])
	}
	_ = h.Framer.WriteContinuation(1, true, block)
	_ = h.Framer.WriteData(1, true, data)
	return h.Await(1, 8*time.Second)
}

// testIdle holds masses of connections open that do nothing.
func testIdle(t *testing.T, s *harness.Server) {
	count := 2000
	if harness.Slow() {
		count = 10000
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		if int(limit.Cur) < count+500 {
			count = int(limit.Cur) - 500
		}
	}
	before := s.RSS()
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for i := range count {
		conn, err := net.DialTimeout("tcp", s.Endpoint, 10*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, conn)
		if i%2 == 0 {
			_, _ = io.WriteString(conn, http2.ClientPreface+
				"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		}
	}
	served(t, s)
	grown := s.RSS() - before
	t.Logf("%d idle connections cost %d KiB each", count,
		grown>>10/int64(count))
	if grown > int64(harness.Slack()*count)*128<<10 {
		t.Errorf("%d idle connections cost %d MiB", count, grown>>20)
	}
	if n := s.OpenFiles(); n < count {
		t.Errorf("only %d descriptors are open", n)
	}
}

// TestAlarmAction sends an action that there is none of; etcd 3.7 crashes.
func TestAlarmAction(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	if !s.IsChorad() {
		t.Skip("etcd dies of an unknown alarm action")
	}
	client := httpClient(t, s)
	_, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(
		timeout(t), &pb.AlarmRequest{Action: 9})
	t.Log(err)
	served(t, s)
}
