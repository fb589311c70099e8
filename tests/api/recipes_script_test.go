package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"chorad.tests/api/harness"
)

// script plays calls of the Lock and Election services into one server and
// writes down what it sees, in words that are the same for every server that
// does the same: leases are numbered as they come up.
type script struct {
	t        *testing.T
	server   *harness.Server
	conn     *grpc.ClientConn
	lock     v3lockpb.LockClient
	election v3electionpb.ElectionClient
	kv       pb.KVClient
	lease    pb.LeaseClient
	maint    pb.MaintenanceClient
	self     *pb.ResponseHeader
	lines    []string
	leases   map[int64]int
}

func newScript(t *testing.T, s *harness.Server) *script {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.Endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &script{t: t, server: s, conn: conn,
		lock:     v3lockpb.NewLockClient(conn),
		election: v3electionpb.NewElectionClient(conn),
		kv:       pb.NewKVClient(conn),
		lease:    pb.NewLeaseClient(conn),
		maint:    pb.NewMaintenanceClient(conn),
		leases:   map[int64]int{}}
	answer, err := r.kv.Range(timeout(t), &pb.RangeRequest{Key: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	r.self = answer.Header
	return r
}

func (r *script) say(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *script) text() string { return strings.Join(r.lines, "\n") }

// ---- words ----

func (r *script) leaseName(id int64) string {
	if id > -1000 && id < 1000 {
		return strconv.FormatInt(id, 10)
	}
	n, known := r.leases[id]
	if !known {
		n = len(r.leases) + 1
		r.leases[id] = n
	}
	return fmt.Sprintf("L%d", n)
}

var leaseInKey = regexp.MustCompile(`/[0-9a-f]{8,16}$`)

func (r *script) key(key []byte) string {
	if len(key) > 100 {
		return fmt.Sprintf("a key of %d bytes", len(key))
	}
	return strconv.Quote(leaseInKey.ReplaceAllStringFunc(string(key),
		func(hex string) string {
			id, _ := strconv.ParseInt(hex[1:], 16, 64)
			return "/" + r.leaseName(id)
		}))
}

func (r *script) header(h *pb.ResponseHeader) string {
	switch {
	case h == nil:
		return "no header"
	case h.ClusterId != r.self.ClusterId || h.MemberId != r.self.MemberId ||
		h.RaftTerm != r.self.RaftTerm:
		return fmt.Sprintf("header {%v} instead of {%v}", h, r.self)
	}
	return fmt.Sprintf("rev %d", h.Revision)
}

func (r *script) item(kv *mvccpb.KeyValue) string {
	if kv == nil {
		return "no kv"
	}
	return fmt.Sprintf("%s=%q created %d modified %d version %d lease %s",
		r.key(kv.Key), kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version,
		r.leaseName(kv.Lease))
}

func (r *script) answer(message any, err error) string {
	if errors.Is(err, io.EOF) {
		return "end"
	}
	if err != nil {
		s, _ := status.FromError(err)
		if s.Code() == codes.DeadlineExceeded {
			// The text says only who of the two has noticed it first.
			return s.Code().String()
		}
		return fmt.Sprintf("%v %q", s.Code(), s.Message())
	}
	switch m := message.(type) {
	case *v3lockpb.LockResponse:
		return fmt.Sprintf("locked %s, %s", r.key(m.Key), r.header(m.Header))
	case *v3electionpb.CampaignResponse:
		l := m.Leader
		return fmt.Sprintf("elected %q %s rev %d lease %s, %s", l.GetName(),
			r.key(l.GetKey()), l.GetRev(), r.leaseName(l.GetLease()),
			r.header(m.Header))
	case *v3electionpb.LeaderResponse:
		return fmt.Sprintf("leader %s, %s", r.item(m.Kv), r.header(m.Header))
	case interface{ GetHeader() *pb.ResponseHeader }:
		return "done, " + r.header(m.GetHeader())
	}
	return fmt.Sprintf("%T", message)
}

// name is that of a lock or an election.
func name(text string) string {
	if len(text) > 100 {
		return fmt.Sprintf("a name of %d bytes", len(text))
	}
	return strconv.Quote(text)
}

// ---- calls ----

// pending is a call that has been made and not yet been written down.
type pending struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	answer any
	err    error
}

func (r *script) start(name string, limit time.Duration,
	call func(ctx context.Context) (any, error)) *pending {
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p := &pending{name: name, cancel: cancel, done: make(chan struct{})}
	r.t.Cleanup(cancel)
	go func() {
		p.answer, p.err = call(ctx)
		close(p.done)
	}()
	return p
}

// end waits for a call and writes down what came of it.
func (r *script) end(p *pending) {
	r.t.Helper()
	select {
	case <-p.done:
		r.say("%s: %s", p.name, r.answer(p.answer, p.err))
	case <-time.After(20 * time.Second):
		r.t.Fatalf("no answer: %s\nso far:\n%s", p.name, r.text())
	}
}

// stillWaits sees that the calls have no answer.
func (r *script) stillWaits(calls ...*pending) {
	time.Sleep(150 * time.Millisecond)
	for _, p := range calls {
		select {
		case <-p.done:
			r.say("%s doesn't wait", p.name)
		default:
			r.say("%s waits", p.name)
		}
	}
}

func (r *script) startLock(lock string, lease int64,
	limit time.Duration) *pending {
	return r.start(fmt.Sprintf("lock %s %s", name(lock), r.leaseName(lease)),
		limit, func(ctx context.Context) (any, error) {
			return r.lock.Lock(ctx, &v3lockpb.LockRequest{Name: []byte(lock),
				Lease: lease})
		})
}

// lockNow locks and gives the key.
func (r *script) lockNow(lock string, lease int64) []byte {
	r.t.Helper()
	p := r.startLock(lock, lease, 0)
	r.end(p)
	if p.err != nil {
		return nil
	}
	return p.answer.(*v3lockpb.LockResponse).Key
}

func (r *script) unlock(key []byte) {
	r.t.Helper()
	r.end(r.start("unlock "+r.key(key), 0,
		func(ctx context.Context) (any, error) {
			return r.lock.Unlock(ctx, &v3lockpb.UnlockRequest{Key: key})
		}))
}

func (r *script) startCampaign(name string, lease int64, value string,
	limit time.Duration) *pending {
	return r.start(fmt.Sprintf("campaign %q %s %.20q", name, r.leaseName(lease),
		value), limit, func(ctx context.Context) (any, error) {
		return r.election.Campaign(ctx, &v3electionpb.CampaignRequest{
			Name: []byte(name), Lease: lease, Value: []byte(value)})
	})
}

func (r *script) campaignNow(name string, lease int64,
	value string) *v3electionpb.LeaderKey {
	r.t.Helper()
	p := r.startCampaign(name, lease, value, 0)
	r.end(p)
	if p.err != nil {
		return nil
	}
	return p.answer.(*v3electionpb.CampaignResponse).Leader
}

func (r *script) proclaim(leader *v3electionpb.LeaderKey, value string) {
	r.t.Helper()
	r.end(r.start(fmt.Sprintf("proclaim %s rev %d lease %s %q",
		r.key(leader.GetKey()), leader.GetRev(),
		r.leaseName(leader.GetLease()), value), 0,
		func(ctx context.Context) (any, error) {
			return r.election.Proclaim(ctx, &v3electionpb.ProclaimRequest{
				Leader: leader, Value: []byte(value)})
		}))
}

func (r *script) resign(leader *v3electionpb.LeaderKey) {
	r.t.Helper()
	r.end(r.start(fmt.Sprintf("resign %s rev %d lease %s",
		r.key(leader.GetKey()), leader.GetRev(),
		r.leaseName(leader.GetLease())), 0,
		func(ctx context.Context) (any, error) {
			return r.election.Resign(ctx, &v3electionpb.ResignRequest{
				Leader: leader})
		}))
}

func (r *script) leader(name string) {
	r.t.Helper()
	r.end(r.start(fmt.Sprintf("leader of %q", name), 0,
		func(ctx context.Context) (any, error) {
			return r.election.Leader(ctx, &v3electionpb.LeaderRequest{
				Name: []byte(name)})
		}))
}

// ---- observers ----

type observer struct {
	name   string
	cancel context.CancelFunc
	mu     sync.Mutex
	seen   []string
	read   int
}

func (r *script) observe(name string, limit time.Duration) *observer {
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	r.t.Cleanup(cancel)
	o := &observer{name: name, cancel: cancel}
	stream, err := r.election.Observe(ctx, &v3electionpb.LeaderRequest{
		Name: []byte(name)})
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		for {
			m, err := stream.Recv()
			o.mu.Lock()
			o.seen = append(o.seen, r.answer(m, err))
			o.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return o
}

// sees waits until the observer has seen n more things and no other.
func (r *script) sees(o *observer, n int) {
	r.t.Helper()
	have := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.seen) - o.read
	}
	harness.Eventually(10*time.Second, func() bool { return have() >= n })
	time.Sleep(100 * time.Millisecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	for ; o.read < len(o.seen); o.read++ {
		r.say("observer of %q: %s", o.name, o.seen[o.read])
	}
	r.say("observer of %q: nothing more", o.name)
}

// ---- around them ----

func (r *script) grant(id, ttl int64) int64 {
	r.t.Helper()
	answer, err := r.lease.LeaseGrant(timeout(r.t), &pb.LeaseGrantRequest{
		ID: id, TTL: ttl})
	if err != nil {
		r.t.Fatal(err)
	}
	r.say("lease %s granted", r.leaseName(answer.ID))
	return answer.ID
}

func (r *script) revoke(id int64) {
	r.t.Helper()
	answer, err := r.lease.LeaseRevoke(timeout(r.t), &pb.LeaseRevokeRequest{
		ID: id})
	r.say("revoke %s: %s", r.leaseName(id), r.answer(answer, err))
}

// showLease writes down what the lease was granted and its keys.
func (r *script) showLease(id int64) {
	r.t.Helper()
	answer, err := r.lease.LeaseTimeToLive(timeout(r.t),
		&pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if err != nil {
		r.t.Fatal(err)
	}
	var keys []string
	for _, key := range answer.Keys {
		keys = append(keys, r.key(key))
	}
	r.say("lease %s of %d s has %v", r.leaseName(id), answer.GrantedTTL, keys)
}

func (r *script) showLeases() {
	r.t.Helper()
	answer, err := r.lease.LeaseLeases(timeout(r.t), &pb.LeaseLeasesRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.say("%d leases", len(answer.Leases))
}

// showGranted writes down what all leases were granted.
func (r *script) showGranted() {
	r.t.Helper()
	answer, err := r.lease.LeaseLeases(timeout(r.t), &pb.LeaseLeasesRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, lease := range answer.Leases {
		r.showLease(lease.ID)
	}
}

func (r *script) put(key, value string) {
	r.t.Helper()
	answer, err := r.kv.Put(timeout(r.t), &pb.PutRequest{Key: []byte(key),
		Value: []byte(value)})
	r.say("put %s: %s", r.key([]byte(key)), r.answer(answer, err))
}

func (r *script) remove(key []byte) {
	r.t.Helper()
	answer, err := r.kv.DeleteRange(timeout(r.t), &pb.DeleteRangeRequest{
		Key: key})
	r.say("delete %s: %s", r.key(key), r.answer(answer, err))
}

// alarm raises one of the server itself.
func (r *script) alarm(alarm pb.AlarmType) {
	r.t.Helper()
	_, err := r.maint.Alarm(timeout(r.t), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: r.self.MemberId,
		Alarm: alarm})
	if err != nil {
		r.t.Fatal(err)
	}
	r.say("alarm %v", alarm)
}

func (r *script) compact(rev int64) {
	r.t.Helper()
	answer, err := r.kv.Compact(timeout(r.t), &pb.CompactionRequest{
		Revision: rev, Physical: true})
	r.say("compact %d: %s", rev, r.answer(answer, err))
}

func (r *script) count() int {
	r.t.Helper()
	answer, err := r.kv.Range(timeout(r.t), &pb.RangeRequest{Key: []byte{0},
		RangeEnd: []byte{0}, CountOnly: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return int(answer.Count)
}

// keys waits until there are n keys and writes them all down.
func (r *script) keys(n int) {
	r.t.Helper()
	if !harness.Eventually(10*time.Second, func() bool {
		return r.count() == n
	}) {
		r.say("not %d keys", n)
	}
	answer, err := r.kv.Range(timeout(r.t), &pb.RangeRequest{Key: []byte{0},
		RangeEnd: []byte{0}, SortTarget: pb.RangeRequest_CREATE,
		SortOrder: pb.RangeRequest_ASCEND})
	if err != nil {
		r.t.Fatal(err)
	}
	r.say("%d keys, %s", len(answer.Kvs), r.header(answer.Header))
	for _, kv := range answer.Kvs {
		r.say("  %s", r.item(kv))
	}
}
