package api

import (
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

var dateLine = regexp.MustCompile(`(?m)^Date: .*\r\n`)

// peerAnswer is all that the peer port answers before it closes.
func peerAnswer(t *testing.T, s *harness.Server, request string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.PeerURL,
		"http://"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second *
		time.Duration(harness.Slack())))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("%.200q: %v after %.300q", request, err, answer)
	}
	return dateLine.ReplaceAllString(string(answer), "")
}

// TestPeerPort sends requests that can't be read, or in more than one way: the
// answers are etcd's, to the byte, and end the connection.
func TestPeerPort(t *testing.T) {
	etcd := harness.Start(t, harness.Options{
		Binary: harness.Tool(t, "etcd")})
	s := harness.Start(t, harness.Options{})
	const host = "Host: a\r\n"
	for _, request := range []string{
		"POST /raft HTTP/1.1\r\n" + host + "Transfer-Encoding: foo\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host +
			"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host +
			"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n foo\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host + "Transfer-Encoding: foo\r\n" +
			"Content-Length: 3\r\n\r\nabc",
		"GET /version HTTP/1.1\r\nTransfer-Encoding: foo\r\n\r\n",
		"POST /raft HTTP/1.1\r\n" + host + "Content-Length: 3\r\n" +
			"Content-Length: 4\r\n\r\nabcd",
		"POST /raft HTTP/1.1\r\n" + host + "Content-Length: 3, 3\r\n\r\nabc",
		"POST /raft HTTP/1.1\r\n" + host + "Content-Length: -3\r\n\r\nabc",
		"POST /raft HTTP/1.1\r\n" + host + "Content-Length: +3\r\n\r\nabc",
		"POST /raft HTTP/1.1\r\n" + host + "Content-Length: \r\n\r\nabc",
		"GET /version HTTP/1.1\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + host + "\r\n",
		"GET /version HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + "A : b\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + "A B: b\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + "A\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + ": b\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + "A: b\x00c\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + "A\x00: b\r\n\r\n",
		"GET /version HTTP/1.1\r\n" + host + "A: b\rc\r\n\r\n",
		"GET /ver\x00sion HTTP/1.1\r\n" + host + "\r\n",
		"GET /version HTTP/2.0\r\n" + host + "\r\n",
		"GET /version HTTP/0.9\r\n" + host + "\r\n",
		"GET /version HTTP/1\r\n" + host + "\r\n",
		"GET /version http/1.1\r\n" + host + "\r\n",
		"hello\r\n\r\n",
	} {
		want := peerAnswer(t, etcd, request)
		if got := peerAnswer(t, s, request); got != want {
			t.Errorf("%q: %q, etcd answers %q", request, got, want)
		}
		served(t, s)
	}
	// etcd takes a megabyte of it.
	if !s.IsChorad() {
		return
	}
	long := "GET /version HTTP/1.1\r\n" + host + "A: " +
		strings.Repeat("b", 200<<10) + "\r\n\r\n"
	if got := peerAnswer(t, s, long); !strings.HasPrefix(got,
		"HTTP/1.1 431 ") {
		t.Errorf("a long head is answered by %.200q", got)
	}
}
