package api

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// answersAt says whether the page is to be had there; a server that isn't
// reached is none.
func answersAt(t *testing.T, host string, port int, path string) bool {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Get(fmt.Sprintf("http://%s%s",
		net.JoinHostPort(host, fmt.Sprint(port)), path))
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// TestListen listens on the addresses that stand for all of a machine's, and
// on such as don't: at the clients' port and at the members'.
func TestListen(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	probe.Close()
	for _, c := range []struct {
		host   string
		v4, v6 bool
	}{
		{"0.0.0.0", true, true},
		{"[::]", true, true},
		{"[::ffff:0.0.0.0]", true, true},
		{"127.0.0.1", true, false},
		{"[::1]", false, true},
	} {
		t.Run(c.host, func(t *testing.T) { testListen(t, c.host, c.v4, c.v6) })
	}
}

func testListen(t *testing.T, host string, v4, v6 bool) {
	ports := harness.FreePorts(t, 2)
	reachable := "127.0.0.1"
	if !v4 {
		reachable = "[::1]"
	}
	url := func(host string, i int) string {
		return fmt.Sprintf("http://%s:%d", host, ports[i])
	}
	s := harness.New(t, harness.Options{Bare: true,
		HTTPURL: url(reachable, 0)})
	s.SetArgs("--data-dir", s.DataDir,
		"--listen-client-urls", url(host, 0),
		"--advertise-client-urls", url(reachable, 0),
		"--listen-peer-urls", url(host, 1),
		"--initial-advertise-peer-urls", url(reachable, 1),
		"--initial-cluster", "default="+url(reachable, 1))
	if err := s.Run(); err != nil {
		t.Fatalf("%v\n%s", err, s.LogTail(5))
	}
	for _, at := range []struct {
		host string
		want bool
	}{{"127.0.0.1", v4}, {"::1", v6}} {
		for i, path := range []string{"/health", "/version"} {
			if got := answersAt(t, at.host, ports[i], path); got != at.want {
				t.Errorf("%s answers at %s: %v", url(host, i), at.host, got)
			}
		}
	}
}
