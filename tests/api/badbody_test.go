package api

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"chorad.tests/api/harness"
	"chorad.tests/api/lockstep"
)

// testBodies sends broken messages to every method of the served services.
func testBodies(t *testing.T, s *harness.Server) {
	rng := rand.New(rand.NewPCG(seed(), 1))
	requests := map[string]proto.Message{
		"etcdserverpb.KV/Range": &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"),
			Limit: 3},
		"etcdserverpb.KV/RangeStream": &pb.RangeRequest{Key: []byte("a")},
		"etcdserverpb.KV/Put":         &pb.PutRequest{Key: []byte("a"), Value: []byte("b")},
		"etcdserverpb.KV/DeleteRange": &pb.DeleteRangeRequest{Key: []byte("a")},
		"etcdserverpb.KV/Txn": &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a"),
			TargetUnion: &pb.Compare_Version{Version: 1}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: []byte("a")}}}}},
		"etcdserverpb.KV/Compact":               &pb.CompactionRequest{Revision: -5},
		"etcdserverpb.Watch/Watch":              &pb.WatchRequest{},
		"etcdserverpb.Lease/LeaseGrant":         &pb.LeaseGrantRequest{TTL: 10},
		"etcdserverpb.Lease/LeaseRevoke":        &pb.LeaseRevokeRequest{ID: 5},
		"etcdserverpb.Lease/LeaseKeepAlive":     &pb.LeaseKeepAliveRequest{ID: 5},
		"etcdserverpb.Lease/LeaseTimeToLive":    &pb.LeaseTimeToLiveRequest{ID: 5},
		"etcdserverpb.Lease/LeaseLeases":        &pb.LeaseLeasesRequest{},
		"etcdserverpb.Cluster/MemberList":       &pb.MemberListRequest{},
		"etcdserverpb.Maintenance/Alarm":        &pb.AlarmRequest{MemberID: 5},
		"etcdserverpb.Maintenance/Status":       &pb.StatusRequest{},
		"etcdserverpb.Maintenance/Hash":         &pb.HashRequest{},
		"etcdserverpb.Maintenance/HashKV":       &pb.HashKVRequest{},
		"etcdserverpb.Cluster/MemberAdd":        &pb.MemberAddRequest{},
		"etcdserverpb.Maintenance/MoveLeader":   &pb.MoveLeaderRequest{TargetID: 1},
		"etcdserverpb.Auth/UserGet":             &pb.AuthUserGetRequest{Name: "x"},
		"etcdserverpb.Auth/RoleGet":             &pb.AuthRoleGetRequest{Role: "x"},
		"etcdserverpb.Maintenance/Downgrade":    &pb.DowngradeRequest{Version: "\x01"},
		"etcdserverpb.Auth/Authenticate":        &pb.AuthenticateRequest{Name: "x"},
		"etcdserverpb.Cluster/MemberPromote":    &pb.MemberPromoteRequest{ID: 1},
		"etcdserverpb.Auth/RoleGrantPermission": &pb.AuthRoleGrantPermissionRequest{},
		"v3lockpb.Lock/Lock": &v3lockpb.LockRequest{Name: []byte("a"),
			Lease: 5},
		"v3lockpb.Lock/Unlock": &v3lockpb.UnlockRequest{Key: []byte("a/5")},
		"v3electionpb.Election/Campaign": &v3electionpb.CampaignRequest{
			Name: []byte("a"), Lease: 5, Value: []byte("b")},
		"v3electionpb.Election/Proclaim": &v3electionpb.ProclaimRequest{
			Leader: &v3electionpb.LeaderKey{Name: []byte("a"),
				Key: []byte("a/5"), Rev: 3, Lease: 5}},
		"v3electionpb.Election/Leader": &v3electionpb.LeaderRequest{
			Name: []byte("a")},
		"v3electionpb.Election/Observe": &v3electionpb.LeaderRequest{
			Name: []byte("a")},
		"v3electionpb.Election/Resign": &v3electionpb.ResignRequest{
			Leader: &v3electionpb.LeaderKey{Name: []byte("a"),
				Key: []byte("a/5"), Rev: 3, Lease: 5}},
	}
	waits := map[string]bool{"etcdserverpb.Watch/Watch": true,
		"v3electionpb.Election/Observe": true, "v3lockpb.Lock/Lock": true,
		"v3electionpb.Election/Campaign": true}
	for method, request := range requests {
		body, err := proto.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			path := "/" + method
			broken := breakBody(rng, body)
			h := harness.DialH2(t, s.Endpoint)
			h.Open(1, false, harness.GRPCHeaders(path))
			_ = h.Framer.WriteData(1, true, harness.Message(0, broken))
			o := h.Await(1, 500*time.Millisecond)
			h.Conn.Close()
			// Some wait for more when the body isn't broken at all.
			if o.Timeout && !waits[method] {
				t.Errorf("%s with %q: %v", method, broken, o)
			}
		}
		if !s.Alive() {
			t.Fatalf("%s ends the server:\n%s", method, s.LogTail(20))
		}
	}
	for _, body := range []string{
		"\x0a\xff\xff\xff\xff\x0f", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"\x0a\x05a", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x00",
		"\x0b\x0b\x0b", "\x0c", "\x0e\x00", "\x0f\x00", "\x02\x00",
	} {
		o := unary(t, s, harness.Message(0, []byte(body)), "/etcdserverpb.KV/Put")
		if o.OK() || o.Timeout {
			t.Errorf("the body %q: %v", body, o)
		}
	}
}

// breakBody cuts, flips, repeats or replaces.
func breakBody(rng *rand.Rand, body []byte) []byte {
	out := append([]byte{}, body...)
	switch rng.IntN(4) {
	case 0:
		out = out[:rng.IntN(len(out)+1)]
	case 1:
		for i := range out {
			if rng.IntN(4) == 0 {
				out[i] ^= byte(1 << rng.IntN(8))
			}
		}
	case 2:
		out = append(out, out...)
		out = append(out, byte(rng.Uint32()))
	case 3:
		out = []byte(noise(rng, rng.IntN(200)))
	}
	return out
}

// nested gives a transaction in a transaction, and so on, so many levels deep.
func nested(levels int) []byte {
	varint := func(n int) (out []byte) {
		for ; n >= 0x80; n >>= 7 {
			out = append(out, byte(n)|0x80)
		}
		return append(out, byte(n))
	}
	sizes := make([]int, levels+1)
	for i := levels - 1; i >= 0; i-- {
		inner := 1 + len(varint(sizes[i+1])) + sizes[i+1]
		sizes[i] = 1 + len(varint(inner)) + inner
	}
	var out []byte
	for i := range levels {
		inner := 1 + len(varint(sizes[i+1])) + sizes[i+1]
		out = append(append(out, 0x12), varint(inner)...)
		out = append(append(out, 0x22), varint(sizes[i+1])...)
	}
	return out
}

func testNesting(t *testing.T, s *harness.Server) {
	for _, levels := range []int{1, 10, 100, 126, 127, 128, 129, 1000, 9000,
		100000, 230000} {
		client := httpClient(t, s)
		err := lockstep.Raw(timeout(t), client.ActiveConnection(),
			"/etcdserverpb.KV/Txn", nested(levels), new([]byte))
		client.Close()
		code := status.Code(err)
		if (err == nil) != (levels <= 128) || code == codes.Unavailable ||
			code == codes.DeadlineExceeded {
			t.Errorf("%d levels: %v", levels, err)
		}
		t.Logf("%d levels: %v", levels, err)
	}
}

// TestSlowWatcher has watchers that never read while much happens. The others
// aren't held up, the server's memory stays bounded, and a watcher that reads
// after all gets everything, in order.
func TestSlowWatcher(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	const events, size, slow = 4000, 8192, 20
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch := func() pb.Watch_WatchClient {
		client := httpClient(t, s)
		stream, err := pb.NewWatchClient(client.ActiveConnection()).Watch(ctx,
			grpc.MaxCallRecvMsgSize(1<<30))
		if err != nil {
			t.Fatal(err)
		}
		err = stream.Send(&pb.WatchRequest{
			RequestUnion: &pb.WatchRequest_CreateRequest{
				CreateRequest: &pb.WatchCreateRequest{Key: []byte("s")}}})
		if err != nil {
			t.Fatal(err)
		}
		if first, err := stream.Recv(); err != nil || !first.Created {
			t.Fatalf("%v, %v", first, err)
		}
		return stream
	}
	var sleepers []pb.Watch_WatchClient
	for range slow {
		sleepers = append(sleepers, watch())
	}
	reader := watch()
	all := make(chan error, 1)
	go func() { all <- readVersions(reader, events) }()
	before := s.RSS()
	client := httpClient(t, s)
	value := string(make([]byte, size))
	begin := time.Now()
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range events / 8 {
				_, err := client.Put(timeout(t), "s", value)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	t.Logf("%d puts took %v", events, time.Since(begin))
	select {
	case err := <-all:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the reading watcher is held up")
	}
	// The history itself is in the figure; the streams would be 20 times it.
	grown := s.RSS() - before
	t.Logf("the memory has grown by %d MiB for %d MiB of history", grown>>20,
		events*size>>20)
	if grown > int64(harness.Slack())*6*events*size {
		t.Errorf("the memory has grown by %d MiB", grown>>20)
	}
	for i, stream := range sleepers[:3] {
		if err := readVersions(stream, events); err != nil {
			t.Errorf("sleeper %d: %v", i, err)
		}
	}
	served(t, s)
}

// readVersions reads events until the version, each one in its turn.
func readVersions(stream pb.Watch_WatchClient, upTo int64) error {
	for version := int64(0); version < upTo; {
		reply, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, event := range reply.Events {
			version++
			if event.Kv.Version != version {
				return status.Errorf(codes.DataLoss,
					"version %d comes where %d is due", event.Kv.Version,
					version)
			}
		}
	}
	return nil
}
