package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/protobuf/proto"

	"chorad.tests/api/harness"
)

// expect compares what a script has written down with what it should be.
func (r *script) expect(want ...string) {
	r.t.Helper()
	for i, line := range r.lines {
		if i >= len(want) || line != want[i] {
			r.t.Fatalf("line %d is unexpected:\n%s", i+1, r.text())
		}
	}
	if len(want) > len(r.lines) {
		r.t.Fatalf("lines are missing:\n%s", r.text())
	}
}

// quiet forgets what has been written down.
func (r *script) quiet() { r.lines = nil }

// choradOnly skips where the server under test is the real etcd, which does
// otherwise.
func choradOnly(t *testing.T) *script {
	t.Helper()
	s := harness.Start(t, harness.Options{})
	if !s.IsChorad() {
		t.Skip("etcd does otherwise")
	}
	return newScript(t, s)
}

// TestWaiterLosesKey sees that who waits hears at once that its key has gone:
// etcd lets it wait on for the others, and then tells a candidate that it
// leads.
func TestWaiterLosesKey(t *testing.T) {
	r := choradOnly(t)
	for id := int64(0x7001); id <= 0x7004; id++ {
		r.grant(id, 300)
	}
	held := r.lockNow("a", 0x7001)
	lock := r.startLock("a", 0x7002, 0)
	r.keys(2)
	candidate := r.startCampaign("a", 0x7003, "x", 0)
	r.keys(3)
	behind := r.startLock("a", 0x7004, 0)
	r.keys(4)
	r.quiet()
	r.revoke(0x7002)
	r.end(lock)
	r.remove([]byte("a/7003"))
	r.end(candidate)
	r.stillWaits(behind)
	r.unlock(held)
	r.end(behind)
	r.expect(
		`revoke L2: done, rev 6`,
		`lock "a" L2: Unknown "mutex: session is expired"`,
		`delete "a/7003": done, rev 7`,
		`campaign "a" L3 "x": Unknown "election: not leader"`,
		`lock "a" L4 waits`,
		`unlock "a/7001": done, rev 8`,
		`lock "a" L4: locked "a/7004", rev 8`)
}

// TestPlaceInLine sees that a key that went and came again is behind those
// that came meanwhile, whoever still waits with it. In etcd the old call takes
// the new key for its own and holds the lock beside another one.
func TestPlaceInLine(t *testing.T) {
	r := choradOnly(t)
	for id := int64(0x7001); id <= 0x7003; id++ {
		r.grant(id, 300)
	}
	held := r.lockNow("a", 0x7001)
	old := r.startLock("a", 0x7002, 0)
	r.keys(2)
	third := r.startLock("a", 0x7003, 0)
	r.keys(3)
	r.unlock([]byte("a/7002"))
	again := r.startLock("a", 0x7002, 0)
	r.keys(3)
	r.stillWaits(third, again)
	r.quiet()
	r.end(old)
	r.unlock(held)
	r.end(third)
	r.stillWaits(again)
	r.unlock([]byte("a/7003"))
	r.end(again)
	r.expect(
		`lock "a" L2: Unknown "mutex: session is expired"`,
		`unlock "a/7001": done, rev 7`,
		`lock "a" L3: locked "a/7003", rev 7`,
		`lock "a" L2 waits`,
		`unlock "a/7003": done, rev 8`,
		`lock "a" L2: locked "a/7002", rev 8`)
}

// TestWaitingStop stops a server while calls wait: they are told at once, and
// find their places again after the restart. In etcd they hold up the stop,
// and lose their places.
func TestWaitingStop(t *testing.T) {
	r := choradOnly(t)
	for id := int64(0x7001); id <= 0x7003; id++ {
		r.grant(id, 300)
	}
	held := r.lockNow("a", 0x7001)
	second := r.startLock("a", 0x7002, 0)
	r.keys(2)
	third := r.startCampaign("a", 0x7003, "x", 0)
	r.keys(3)
	o := r.observe("a", 0)
	r.sees(o, 1)
	r.quiet()
	took, err := r.server.Stop(syscall.SIGTERM, 20*time.Second)
	if err != nil || took > 3*time.Second*time.Duration(harness.Slack()) {
		t.Errorf("the stop took %v: %v", took, err)
	}
	r.end(second)
	r.end(third)
	r.sees(o, 1)
	r.server.Restart(t)
	again := newScript(t, r.server)
	again.leases = r.leases
	third = again.startCampaign("a", 0x7003, "x", 0)
	second = again.startLock("a", 0x7002, 0)
	again.stillWaits(second, third)
	again.unlock(held)
	again.end(second)
	again.stillWaits(third)
	again.revoke(0x7002)
	again.end(third)
	r.lines = append(r.lines, again.lines...)
	r.expect(
		`lock "a" L2: Unavailable "etcdserver: server stopped"`,
		`campaign "a" L3 "x": Unavailable "etcdserver: server stopped"`,
		`observer of "a": Unavailable "etcdserver: server stopped"`,
		`observer of "a": nothing more`,
		`lock "a" L2 waits`,
		`campaign "a" L3 "x" waits`,
		`unlock "a/7001": done, rev 5`,
		`lock "a" L2: locked "a/7002", rev 5`,
		`campaign "a" L3 "x" waits`,
		`revoke L2: done, rev 6`,
		`campaign "a" L3 "x": elected "a" "a/7003" rev 4 lease L3, rev 4`)
}

// TestWaitingDeadline sees that the server itself ends a call whose deadline
// has passed, and takes its key away, also when the client only falls silent.
func TestWaitingDeadline(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	r := newScript(t, s)
	r.grant(0x7001, 300)
	r.grant(0x7002, 300)
	r.lockNow("a", 0x7001)
	open := func(path string, request proto.Message,
		headers ...string) *harness.H2 {
		body, err := proto.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		h := harness.DialH2(t, s.Endpoint)
		h.Open(1, false, harness.GRPCHeaders(path, headers...))
		_ = h.Framer.WriteData(1, true, harness.Message(0, body))
		return h
	}
	keys := func(n int, when string) {
		if !harness.Eventually(10*time.Second, func() bool {
			return r.count() == n
		}) {
			t.Errorf("%s: %d keys instead of %d", when, r.count(), n)
		}
	}
	ended := func(path string, h *harness.H2) {
		if o := h.Await(1, 10*time.Second); o.GRPC != "4" && !o.Reset {
			t.Errorf("%s: %v", path, o)
		}
	}
	for path, request := range map[string]proto.Message{
		"/v3lockpb.Lock/Lock": &v3lockpb.LockRequest{Name: []byte("a"),
			Lease: 0x7002},
		"/v3electionpb.Election/Campaign": &v3electionpb.CampaignRequest{
			Name: []byte("a"), Lease: 0x7002},
	} {
		h := open(path, request, "grpc-timeout", "400m")
		keys(2, path+" waits")
		ended(path, h)
		keys(1, path+" is over")
		h = open(path, request)
		keys(2, path+" waits")
		h.Conn.Close()
		keys(1, path+" has lost its connection")
	}
	observe := "/v3electionpb.Election/Observe"
	ended(observe, open(observe, &v3electionpb.LeaderRequest{
		Name: []byte("a")}, "grpc-timeout", "200m"))
	served(t, s)
}

// TestSlowObserver has observers that don't read while the leader proclaims
// much. The server doesn't keep it for them, and when they read they get to
// the newest value all the same.
func TestSlowObserver(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	r := newScript(t, s)
	const proclaims, size, slow = 300, 64 << 10, 20
	r.grant(0x7001, 300)
	leader := r.campaignNow("e", 0x7001, "first")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var sleepers []v3electionpb.Election_ObserveClient
	for range slow {
		stream, err := newScript(t, s).election.Observe(ctx,
			&v3electionpb.LeaderRequest{Name: []byte("e")})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		sleepers = append(sleepers, stream)
	}
	before := s.RSS()
	for i := range proclaims {
		_, err := r.election.Proclaim(timeout(t), &v3electionpb.ProclaimRequest{
			Leader: leader,
			Value:  fmt.Appendf(make([]byte, 0, size), "%0*d", size, i+1)})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The history itself is in the figure; the streams would be 20 times it.
	grown := s.RSS() - before
	t.Logf("the memory has grown by %d MiB for %d MiB of history", grown>>20,
		proclaims*size>>20)
	if s.IsChorad() && grown > int64(harness.Slack())*6*proclaims*size {
		t.Errorf("the memory has grown by %d MiB", grown>>20)
	}
	r.proclaim(leader, "newest")
	for i, stream := range sleepers {
		var seen int
		var last int64
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatalf("observer %d: %v", i, err)
			}
			if m.Kv.Version <= last {
				t.Fatalf("observer %d: version %d after %d", i, m.Kv.Version,
					last)
			}
			last = m.Kv.Version
			seen++
			if string(m.Kv.Value) == "newest" {
				break
			}
		}
		if i == 0 {
			t.Logf("an observer has seen %d of %d values", seen, proclaims+1)
			if s.IsChorad() && seen > proclaims {
				t.Error("nothing was left out: the test tests nothing")
			}
		}
	}
	served(t, s)
}

// TestLongLine has a lock that very many wait for: they come, go and are
// served in their order, and what each costs doesn't grow with their number.
func TestLongLine(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	small, large := 600, 3000
	if harness.Sanitized() || !s.IsChorad() {
		small, large = 100, 500
	}
	a := longLine(t, s, "a", small)
	b := longLine(t, s, "b", large)
	t.Logf("CPU for each of %d: %v to come, %v to be served", small,
		a.come, a.served)
	t.Logf("CPU for each of %d: %v to come, %v to be served; %d bytes",
		large, b.come, b.served, b.memory)
	if !s.IsChorad() || harness.Sanitized() {
		return
	}
	// Times five if it were quadratic.
	if b.come > 2*a.come+40*time.Microsecond {
		t.Errorf("%v and %v to come", a.come, b.come)
	}
	if b.served > 2*a.served+100*time.Microsecond {
		t.Errorf("%v and %v to be served", a.served, b.served)
	}
	if b.memory > 40<<10 {
		t.Errorf("who waits takes %d bytes", b.memory)
	}
}

type lineCost struct {
	come, served time.Duration
	memory       int64
}

func longLine(t *testing.T, s *harness.Server, name string,
	n int) (cost lineCost) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var scripts []*script
	for range 4 {
		scripts = append(scripts, newScript(t, s))
	}
	r := scripts[0]
	for i := range n + 1 {
		_, err := r.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{
			ID: int64(0x10000 + i), TTL: 600})
		if err != nil {
			t.Fatal(err)
		}
	}
	lock := func(i int) (*v3lockpb.LockResponse, error) {
		return scripts[i%len(scripts)].lock.Lock(ctx, &v3lockpb.LockRequest{
			Name: []byte(name), Lease: int64(0x10000 + i)})
	}
	first, err := lock(0)
	if err != nil {
		t.Fatal(err)
	}
	cpu, rss := s.CPU(), s.RSS()
	var mu sync.Mutex
	var order []int64
	var all sync.WaitGroup
	for i := 1; i <= n; i++ {
		all.Go(func() {
			answer, err := lock(i)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := r.kv.Range(ctx, &pb.RangeRequest{Key: answer.Key})
			if err == nil && len(got.Kvs) != 1 {
				err = fmt.Errorf("the lock's key is gone")
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, got.Kvs[0].CreateRevision)
			mu.Unlock()
			_, err = r.lock.Unlock(ctx, &v3lockpb.UnlockRequest{
				Key: answer.Key})
			if err != nil {
				t.Error(err)
			}
		})
	}
	if !harness.Eventually(2*time.Minute, func() bool {
		return r.count() == n+1
	}) {
		t.Fatalf("%d of %d have come", r.count(), n+1)
	}
	cost.come = (s.CPU() - cpu) / time.Duration(n)
	cost.memory = (s.RSS() - rss) / int64(n)
	cpu = s.CPU()
	_, err = r.lock.Unlock(ctx, &v3lockpb.UnlockRequest{Key: first.Key})
	if err != nil {
		t.Fatal(err)
	}
	all.Wait()
	cost.served = (s.CPU() - cpu) / time.Duration(n)
	if len(order) != n {
		t.Fatalf("%d of %d were served", len(order), n)
	}
	for i := 1; i < n; i++ {
		if order[i] <= order[i-1] {
			t.Fatalf("%d was served after %d", order[i], order[i-1])
		}
	}
	if left := r.count(); left != 0 {
		t.Errorf("%d keys are left", left)
	}
	for i := range n + 1 {
		_, err := r.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{
			ID: int64(0x10000 + i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	return cost
}

// TestWidePrefix locks where very many other keys begin with the same name, so
// that the server reads them elsewhere, while they come and go.
func TestWidePrefix(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	r := newScript(t, s)
	r.put("a/first", "leads")
	others := 20000
	if !s.IsChorad() {
		others = 500 // each who waits in etcd reads and sorts them all
	}
	fillPrefix(t, r, "a/other/", others)
	r.grant(0x7001, 300)
	r.grant(0x7002, 300)
	r.quiet()
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		client := newScript(t, s)
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Appendf(nil, "a/other/%d/%d", w, i/2%100)
				var err error
				if i%2 == 0 {
					_, err = client.kv.Put(timeout(t), &pb.PutRequest{Key: key})
				} else {
					_, err = client.kv.DeleteRange(timeout(t),
						&pb.DeleteRangeRequest{Key: key})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range 20 {
		limit := time.Duration(5*round+1) * time.Millisecond
		gone := r.startLock("a", 0x7002, limit)
		o := r.observe("a", limit)
		answer, err := r.election.Leader(timeout(t),
			&v3electionpb.LeaderRequest{Name: []byte("a")})
		if err != nil || string(answer.Kv.Key) != "a/first" {
			t.Errorf("%v leads, %v", answer, err)
		}
		<-gone.done
		o.cancel()
	}
	waiter := r.startLock("a", 0x7001, 0)
	o := r.observe("a", 0)
	r.sees(o, 1)
	r.stillWaits(waiter)
	close(stop)
	writers.Wait()
	r.removeRange("a/other/", "a/other0")
	r.stillWaits(waiter)
	r.remove([]byte("a/first"))
	r.end(waiter)
	r.sees(o, 1)
	r.unlock([]byte("a/7001"))
	if left := r.count(); left != 0 {
		r.keys(0)
		t.Errorf("%d keys are left:\n%s", left, r.text())
	}
	for _, line := range []string{"leader \"a/first\"", "lock \"a\" L1 waits",
		"lock \"a\" L1: locked \"a/7001\"", "leader \"a/7001\""} {
		if !strings.Contains(r.text(), line) {
			t.Errorf("%s is missing in\n%s", line, r.text())
		}
	}
	served(t, s)
}

func fillPrefix(t *testing.T, r *script, prefix string, n int) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		txn := &pb.TxnRequest{}
		for k := i; k < i+100; k++ {
			txn.Success = append(txn.Success, &pb.RequestOp{
				Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
					Key: fmt.Appendf(nil, "%s%d", prefix, k)}}})
		}
		if _, err := r.kv.Txn(timeout(t), txn); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *script) removeRange(key, end string) {
	r.t.Helper()
	_, err := r.kv.DeleteRange(timeout(r.t), &pb.DeleteRangeRequest{
		Key: []byte(key), RangeEnd: []byte(end)})
	if err != nil {
		r.t.Fatal(err)
	}
}
