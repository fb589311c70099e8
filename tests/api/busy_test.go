package api

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"chorad.tests/api/harness"
)

// busyMachine keeps every processor busy with four other programs until the
// test ends.
func busyMachine(t *testing.T) {
	t.Helper()
	for range 4 * runtime.NumCPU() {
		loop := exec.Command("sh", "-c", "while :; do :; done")
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		})
	}
}

// TestBusyLogin logs in where other programs take all they can of the
// processors. A password takes some 250 ms here, and a fifth of a processor is
// there for it.
func TestBusyLogin(t *testing.T) {
	plain := guard(t, "")
	plain.SetArgs("--bcrypt-cost", "12")
	if _, err := plain.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	plain.Restart(t)
	g := dialGuarded(t, plain.Server)
	ctx := metadata.AppendToOutgoingContext(timeout(t), "token", g.login())
	if _, err := g.auth.UserChangePassword(ctx,
		&pb.AuthUserChangePasswordRequest{Name: "root",
			Password: "r"}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	g.login()
	// A share of a fifth and what other tests take, not one of a fortieth.
	limit := max(5*time.Second, 16*time.Since(begin))
	busyMachine(t)
	for range 3 {
		one, cancel := context.WithTimeout(context.Background(), limit)
		begin = time.Now()
		_, err := g.auth.Authenticate(one, &pb.AuthenticateRequest{
			Name: "root", Password: "r"})
		cancel()
		if err != nil {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		t.Logf("a log-in took %v of at most %v", time.Since(begin), limit)
	}
}

// TestLateHeartbeats reads all the time: then heartbeats carry the reads'
// contexts, and are heartbeats as well. A second must pass without one before
// the leader says that it is late.
func TestLateHeartbeats(t *testing.T) {
	cluster := harness.StartCluster(t, harness.Options{Args: []string{
		"--heartbeat-interval", "500", "--election-timeout", "5000"}},
		three...)
	lead := leader(t, cluster)
	client := httpClient(t, lead)
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
	defer cancel()
	var readers sync.WaitGroup
	for range 32 {
		readers.Go(func() {
			for ctx.Err() == nil {
				_, _ = client.Get(ctx, "k")
			}
		})
	}
	readers.Wait()
	const late = "failed to send out heartbeat on time"
	if n := strings.Count(lead.Log(), late); n > 2*harness.Slack() {
		t.Errorf("heartbeats were late %d times", n)
	}
}

// TestLoopTurns finds the turns of the loop on the metrics page.
func TestLoopTurns(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	if !s.IsChorad() {
		t.Skip("about chorad")
	}
	client := httpClient(t, s)
	for range 10 {
		if _, err := client.Put(timeout(t), "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	have := parseMetrics(t, fetch(t, "GET", s.ClientURL+"/metrics").Body)
	for _, want := range []string{"chorad_loop_turn_seconds histogram {}",
		"chorad_loop_longest_turn_seconds gauge {}",
		"chorad_loop_long_turns_total counter {part}"} {
		name, _, _ := strings.Cut(want, " ")
		f := have[name]
		if f == nil || !strings.HasPrefix(f.line(name), want) {
			t.Errorf("missing: %s", want)
		}
	}
	page := fetch(t, "GET", s.ClientURL+"/metrics").Body
	if !strings.Contains(page, `part="apply"`) ||
		strings.Contains(page, "chorad_loop_turn_seconds_count 0\n") ||
		strings.Contains(page, "chorad_loop_longest_turn_seconds 0\n") {
		t.Error("no turns have been counted")
	}
}
