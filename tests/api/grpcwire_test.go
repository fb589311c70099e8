package api

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"chorad.tests/api/harness"
)

const (
	wireRange    = "/etcdserverpb.KV/Range"
	wireWatch    = "/etcdserverpb.Watch/Watch"
	wireSnapshot = "/etcdserverpb.Maintenance/Snapshot"
)

// wireCase is something that a client may send on a connection of its own, and
// the frames that etcd answers it with.
type wireCase struct {
	name string
	play func(h *harness.H2) string
}

// wireDiffers are the cases in which chorad doesn't answer as etcd does, those
// of testdata/grpcwire_differs.txt. One that is equal after all has to be taken
// out of it.
func wireDiffers(t *testing.T) map[string]bool {
	text, err := os.ReadFile("testdata/grpcwire_differs.txt")
	if err != nil {
		t.Fatal(err)
	}
	differs := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		name, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		differs[name] = true
	}
	return differs
}

// TestGRPCWire plays all that may be strange about a call, below what a client
// library lets through, into the server and into etcd: the frames are equal.
func TestGRPCWire(t *testing.T) {
	tested := harness.Start(t, harness.Options{})
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	differs := wireDiffers(t)
	seen := map[string]bool{}
	for _, c := range wireCases() {
		if seen[c.name] {
			t.Fatalf("%s is there twice", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			bothWires(t, tested, etcd, c, differs)
		})
	}
	for name := range differs {
		if !seen[name] && !wireStops[name] {
			t.Errorf("no case is called %q", name)
		}
	}
	served(t, tested)
}

// bothWires plays a case into both servers. Each of them may have more than one
// answer, where a deadline and a call's end meet: it is given a few tries.
func bothWires(t *testing.T, tested, etcd *harness.Server, c wireCase,
	differs map[string]bool) {
	t.Helper()
	var want, got string
	for range 4 {
		want = c.play(harness.DialH2(t, etcd.Endpoint))
		got = c.play(harness.DialH2(t, tested.Endpoint))
		if (got != want) == (differs[c.name] && tested.IsChorad()) {
			break
		}
	}
	compareWire(t, tested, c.name, got, want, differs)
}

func compareWire(t *testing.T, s *harness.Server, name, got, want string,
	differs map[string]bool) {
	t.Helper()
	known := differs[name] && s.IsChorad()
	switch {
	case got != want && !known:
		t.Errorf("differs: %q\netcd answers\n%s\nand this one\n%s", name, want,
			got)
	case got == want && known:
		t.Errorf("answers as etcd does now; take %q out of the list:\n%s",
			name, got)
	case known:
		t.Logf("differs: %q\netcd answers\n%s\nand this one\n%s", name, want,
			got)
	default:
		t.Logf("%s", got)
	}
}

// ---- what the cases are made of

func rangeBody() []byte {
	body, _ := proto.Marshal(&pb.RangeRequest{Key: []byte("wire")})
	return body
}

func watchBody() []byte {
	body, _ := proto.Marshal(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte("wire")}}})
	return body
}

const wirePatience = 1500 * time.Millisecond

// sends makes a case: headers, then pieces of DATA of which the last ends the
// stream; with no pieces, the headers do.
func sends(name string, headers [][2]string, pieces ...[]byte) wireCase {
	return wireCase{name, func(h *harness.H2) string {
		t := h.Listen()
		h.Open(1, len(pieces) == 0, headers)
		for i, piece := range pieces {
			_ = h.Framer.WriteData(1, i == len(pieces)-1, piece)
		}
		t.Await(1, wirePatience)
		return t.String()
	}}
}

// withHeaders is a Range with further headers, or others, as pairs.
func withHeaders(name string, more ...string) wireCase {
	return sends(name, harness.GRPCHeaders(wireRange, more...),
		harness.Message(0, rangeBody()))
}

// inAll gives cases named "what: value", one for each value of a header.
func inAll(header string, values ...string) (cases []wireCase) {
	for _, value := range values {
		name := header + ": " + value
		if len(name) > 60 {
			name = name[:60]
		}
		cases = append(cases, withHeaders(name, header, value))
	}
	return cases
}

// without leaves a header out.
func without(name string) wireCase {
	var headers [][2]string
	for _, header := range harness.GRPCHeaders(wireRange) {
		if header[0] != name {
			headers = append(headers, header)
		}
	}
	return sends("no "+name, headers, harness.Message(0, rangeBody()))
}

func packed(name string) []byte {
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if name == "deflate" {
		w = zlib.NewWriter(&out)
	}
	_, _ = w.Write(rangeBody())
	_ = w.Close()
	return out.Bytes()
}

// ---- the cases

func wireCases() (cases []wireCase) {
	for _, group := range [][]wireCase{wireContent(), wireTimeouts(),
		wireMetadata(), wirePaths(), wireEncodings(), wireBodies(),
		wireMethods(), wireStreams(), wireResets(), wirePings()} {
		cases = append(cases, group...)
	}
	return cases
}

func wireContent() []wireCase {
	cases := []wireCase{withHeaders("plain"), without("te"),
		without("content-type")}
	cases = append(cases, inAll("te", "gzip", "trailers, deflate")...)
	return append(cases, inAll("content-type", "application/grpc+proto",
		"application/grpc+json", "application/grpc+", "application/grpc+x",
		"application/grpc;charset=utf-8", "application/grpc; x",
		"application/grpc;", "application/grpcx", "application/grpc-web",
		"application/grpc-web+proto", "APPLICATION/GRPC", "application/json",
		"text/plain", "application/x-protobuf")...)
}

func wireTimeouts() []wireCase {
	cases := inAll("grpc-timeout", "1H", "1M", "5S", "5000m", "5000000u",
		"99999999n", "99999999H", "123456789S", "0123456789S", "1", "S", "1s",
		"1X", "-1S", "+1S", " 5S", "1.5S", "5S ", "0x1S", "5SS", "five")
	for _, value := range []string{"100m", "0S", "0n", "1n"} {
		cases = append(cases, eitherEnd(sends("watch for "+value,
			harness.GRPCHeaders(wireWatch, "grpc-timeout", value),
			harness.Message(0, watchBody()), nil)))
	}
	return append(cases, eitherEnd(wireCase{"watch for 200m, open",
		func(h *harness.H2) string {
			t := h.Listen()
			h.Open(1, false, harness.GRPCHeaders(wireWatch, "grpc-timeout",
				"200m"))
			_ = h.Framer.WriteData(1, false, harness.Message(0, watchBody()))
			t.Await(1, wirePatience)
			return t.String()
		}}))
}

// eitherEnd makes one of the two ends that a deadline has in etcd: its timer
// resets the stream, unless the handler has been quicker with the status.
func eitherEnd(c wireCase) wireCase {
	play := c.play
	c.play = func(h *harness.H2) string {
		return strings.ReplaceAll(play(h), "1: headers "+
			`["grpc-message=context deadline exceeded" "grpc-status=4"], end`,
			"1: reset CANCEL")
	}
	return c
}

func wireMetadata() []wireCase {
	cases := inAll("x-bin", "AAA=", "AAA", "AAAA", "AA==", "AA", "A", "!!!",
		"AAAA,AAAA", "AAA=,AAA=", "A-_A", "A+/A")
	cases = append(cases, inAll("x", "\xc3\xbc", "\xff", "a\tb", " a ",
		strings.Repeat("long", 2000))...)
	cases = append(cases, inAll("X-Upper", "a")...)
	cases = append(cases, inAll("grpc-trace-bin", "AAA", "!!!")...)
	cases = append(cases, inAll("grpc-tags-bin", "!!!")...)
	return append(cases,
		withHeaders("grpc- of its own", "grpc-own", "a"),
		withHeaders("hasleader", "hasleader", "true"),
		withHeaders("hasleader other", "hasleader", "TRUE"),
		withHeaders("bad token", "token", "none.1"),
		withHeaders("a name with a space", "a b", "c"),
		withHeaders("user-agent", "user-agent", "grpc-c/1.0"),
		withHeaders("connection", "connection", "close"),
		withHeaders("transfer-encoding", "transfer-encoding", "chunked"),
		withHeaders("content-length right", "content-length", "11"),
		withHeaders("content-length wrong", "content-length", "3"),
		withHeaders("content-length no number", "content-length", "x"),
		withHeaders("expect", "expect", "100-continue"),
		withHeaders("grpc-accept-encoding: gzip", "grpc-accept-encoding",
			"gzip"),
		withHeaders("grpc-accept-encoding: nonsense", "grpc-accept-encoding",
			"a,,b ,;"))
}

func wirePaths() (cases []wireCase) {
	for _, path := range []string{"/", "//", "KV", "etcdserverpb.KV/Range",
		"/etcdserverpb.KV", "/etcdserverpb.KV/", "/etcdserverpb.KV/range",
		"/etcdserverpb.KV/Range/", "/etcdserverpb.KV//Range",
		"/etcdserverpb.KV/Range?x=1", "/etcdserverpb.KV/Gr\xc3\xbc\xc3\x9fe",
		"/etcdserverpb.KV/a b", "/etcdserverpb.KV/100%", "/a/b/c", "/a/b",
		"/a\"b/c\\d", "/a%20b/c", "/\xff\xfe/x", "/tab\there/x", "*",
		"/none/~", "http://127.0.0.1" + wireRange,
		"/" + strings.Repeat("long", 200) + "/x",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.health.v1.Health/List"} {
		name := "path " + path
		if len(name) > 60 {
			name = name[:60]
		}
		cases = append(cases, sends(name, harness.GRPCHeaders(path),
			harness.Message(0, rangeBody())))
	}
	return cases
}

func wireEncodings() (cases []wireCase) {
	for _, c := range []struct {
		name, encoding string
		flag           byte
		body           []byte
	}{
		{"gzip", "gzip", 1, packed("gzip")},
		{"gzip not used", "gzip", 0, rangeBody()},
		{"gzip of garbage", "gzip", 1, []byte("garbage")},
		{"gzip of nothing", "gzip", 1, nil},
		{"gzip cut off", "gzip", 1, packed("gzip")[:20]},
		{"gzip with more behind", "gzip", 1, append(packed("gzip"), 1, 2, 3)},
		{"gzip twice", "gzip", 1, append(packed("gzip"), packed("gzip")...)},
		{"gzip upper case", "GZIP", 1, packed("gzip")},
		{"deflate", "deflate", 1, packed("deflate")},
		{"deflate not used", "deflate", 0, rangeBody()},
		{"identity", "identity", 0, rangeBody()},
		{"identity with the flag", "identity", 1, rangeBody()},
		{"unknown encoding", "snappy", 1, rangeBody()},
		{"unknown encoding not used", "snappy", 0, rangeBody()},
		{"no encoding with the flag", "", 1, packed("gzip")},
		{"flag 2", "", 2, rangeBody()},
		{"flag 255", "gzip", 255, packed("gzip")},
	} {
		headers := harness.GRPCHeaders(wireRange, "grpc-encoding", c.encoding)
		cases = append(cases, sends(c.name, headers,
			harness.Message(c.flag, c.body)))
	}
	return cases
}

func wireBodies() []wireCase {
	whole := harness.Message(0, rangeBody())
	unary, watch := harness.GRPCHeaders(wireRange),
		harness.GRPCHeaders(wireWatch)
	snapshot := harness.GRPCHeaders(wireSnapshot)
	huge := harness.Message(0, nil)
	huge[1], huge[2] = 0x01, 0x00 // 16 MiB
	most := harness.Message(0, nil)
	most[1], most[2], most[3], most[4] = 0xff, 0xff, 0xff, 0xff
	var bytewise [][]byte
	for i := range whole {
		bytewise = append(bytewise, whole[i:i+1])
	}
	body := "the request "
	return []wireCase{
		sends(body+"ends in the headers", unary),
		sends(body+"is an empty end", unary, nil),
		sends(body+"is an empty message", unary, harness.Message(0, nil)),
		sends(body+"is two messages", unary, whole, whole),
		sends(body+"is two messages in one frame", unary,
			append(bytes.Clone(whole), whole...)),
		sends(body+"comes byte by byte", unary, bytewise...),
		sends(body+"comes with empty frames", unary, nil, whole, nil, nil),
		sends(body+"ends in the prefix", unary, whole[:3]),
		sends(body+"ends in the message", unary, whole[:8]),
		sends(body+"ends behind the prefix", unary, whole[:5]),
		sends(body+"has a part behind it", unary,
			append(bytes.Clone(whole), 0, 0, 0)),
		sends(body+"says it is 16 MiB", unary, huge, nil),
		sends(body+"says it is 4 GiB", unary, most, nil),
		sends(body+"isn't protobuf", unary,
			harness.Message(0, []byte("\xff\xff"))),
		sends(body+"has a group", unary,
			harness.Message(0, []byte("\x0b\x0b\x0c"))),
		sends(body+"has text that isn't UTF-8",
			harness.GRPCHeaders("/etcdserverpb.Auth/UserGet"),
			harness.Message(0, []byte("\x0a\x01\xff"))),
		sends("watch that ends in the headers", watch),
		sends("watch that is an empty end", watch, nil),
		sends("watch that ends in the prefix", watch, whole[:3]),
		sends("watch that ends in a message", watch, whole[:8]),
		sends("watch that isn't protobuf", watch,
			harness.Message(0, []byte("\xff\xff")), nil),
		sends("watch, empty message", watch, harness.Message(0, nil), nil),
		sends("watch, flag without encoding", watch,
			harness.Message(1, watchBody()), nil),
		sends("watch, 16 MiB", watch, huge, nil),
		sends("watch twice and the end", watch,
			harness.Message(0, watchBody()), harness.Message(0, watchBody()),
			nil),
		sends("snapshot without a message", snapshot),
		sends("snapshot, empty end", snapshot, nil),
		sends("snapshot, not protobuf", snapshot,
			harness.Message(0, []byte("\xff\xff"))),
		sends("snapshot, part of a message", snapshot, whole[:8]),
	}
}

func wireMethods() []wireCase {
	cases := inAll(":method", "GET", "PUT", "HEAD", "OPTIONS", "post", "CONNECT")
	cases = append(cases, inAll(":scheme", "https", "ftp", "HTTP")...)
	cases = append(cases, inAll(":authority", "example.com", "a b", "\xff",
		"user@127.0.0.1", "127.0.0.1:99999")...)
	for _, name := range []string{":method", ":path", ":scheme",
		":authority"} {
		cases = append(cases, without(name))
	}
	message := harness.Message(0, rangeBody())
	twice := func(name, value string) wireCase {
		headers := harness.GRPCHeaders(wireRange)
		return sends(name+" twice", append([][2]string{{name, value}},
			headers...), message)
	}
	more := func(name string, pairs ...[2]string) wireCase {
		return sends(name, append(harness.GRPCHeaders(wireRange), pairs...),
			message)
	}
	return append(cases, twice(":path", wireRange), twice(":method", "POST"),
		twice(":scheme", "http"), twice(":authority", "x"),
		more("host beside :authority", [2]string{"host", "example.com"}),
		more("two hosts", [2]string{"host", "a"}, [2]string{"host", "b"}),
		more("content-type twice", [2]string{"content-type", "text/plain"}),
		more("te twice", [2]string{"te", "trailers"}),
		more("grpc-timeout twice", [2]string{"grpc-timeout", "5S"},
			[2]string{"grpc-timeout", "x"}),
		more("grpc-encoding twice", [2]string{"grpc-encoding", "identity"},
			[2]string{"grpc-encoding", "snappy"}),
		more("a pseudo-header at the end", [2]string{":path", wireRange}),
		more("an unknown pseudo-header", [2]string{":own", "a"}),
		more("the pseudo-header of an answer", [2]string{":status", "200"}))
}
