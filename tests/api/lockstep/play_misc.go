package lockstep

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// alarms raises an alarm, looks at what it forbids, and disarms it.
func (p *Player) alarms() error {
	g := p.g
	kind := pick(g, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT,
		pb.AlarmType_NONE, pb.AlarmType(7))
	member := pick[uint64](g, ownMember, 77, 0)
	raise := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE,
		MemberID: member, Alarm: kind}
	sequence := []proto.Message{raise, proto.Clone(raise),
		&pb.StatusRequest{},
		&pb.AlarmRequest{Action: pb.AlarmRequest_GET},
		&pb.AlarmRequest{Action: pb.AlarmRequest_GET, MemberID: 5,
			Alarm: pb.AlarmType_NOSPACE}}
	for range 6 {
		sequence = append(sequence, pick[func() proto.Message](g,
			func() proto.Message { return g.put() },
			func() proto.Message { return g.careful(0) },
			func() proto.Message { return g.deleteRange() },
			func() proto.Message { return g.ranges() },
			func() proto.Message { return g.readTxn() },
			func() proto.Message {
				return &pb.TxnRequest{Success: []*pb.RequestOp{
					deleteOp([]byte("k1"), nil, true)}}
			},
			func() proto.Message {
				return &pb.LeaseGrantRequest{ID: 424242, TTL: 1000}
			},
			func() proto.Message {
				return &pb.LeaseRevokeRequest{ID: 424242}
			},
			func() proto.Message {
				return &pb.LeaseTimeToLiveRequest{ID: 424242}
			},
		)())
	}
	disarm := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE,
		MemberID: member, Alarm: kind}
	other := proto.Clone(disarm).(*pb.AlarmRequest)
	other.MemberID = 4711
	sequence = append(sequence, other, disarm, proto.Clone(disarm),
		&pb.AlarmRequest{Action: pb.AlarmRequest_GET},
		&pb.LeaseRevokeRequest{ID: 424242}, g.put())
	for _, request := range sequence {
		if err := p.simple(request); err != nil {
			return err
		}
	}
	return nil
}

func (p *Player) health() error {
	return p.simple(pick[proto.Message](p.g, &healthpb.HealthCheckRequest{},
		&healthpb.HealthCheckRequest{Service: "etcdserverpb.KV"},
		&healthpb.HealthListRequest{}))
}

// restart ends both servers and goes on with what they then have.
func (p *Player) restart() error {
	if p.Restart == nil {
		return nil
	}
	p.note("restart of both")
	time.Sleep(time.Until(p.settled))
	if err := p.checkWatches(); err != nil {
		return err
	}
	for _, pair := range p.pairs {
		p.Events += pair.events
		pair.close()
	}
	p.pairs = nil
	p.a.Close()
	p.b.Close()
	if err := p.Restart(); err != nil {
		return p.mismatch(err.Error())
	}
	for _, side := range []*Side{p.a, p.b} {
		if err := side.connect(); err != nil {
			return p.mismatch(err.Error())
		}
	}
	// A new leader gives every lease all its time.
	for id := range p.expiry {
		p.renew(id)
	}
	for _, request := range []proto.Message{
		&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}},
		&pb.HashKVRequest{}, &pb.HashKVRequest{Revision: p.g.pastRev()},
		&pb.AlarmRequest{}, &pb.LeaseLeasesRequest{}} {
		if err := p.simple(request); err != nil {
			return err
		}
	}
	return nil
}

// rawCodec sends and gives bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

// Raw makes a unary call with bytes in place of messages.
func Raw(ctx context.Context, conn *grpc.ClientConn, method string,
	body []byte, reply *[]byte) error {
	return conn.Invoke(ctx, method, body, reply, grpc.ForceCodec(rawCodec{}))
}

// raw sends requests with fields cut off, unknown ones, and ones twice.
func (p *Player) raw() error {
	g := p.g
	type kind struct {
		method  string
		request proto.Message
		reply   proto.Message
	}
	k := pick(g,
		kind{"/etcdserverpb.KV/Put", g.put(), &pb.PutResponse{}},
		kind{"/etcdserverpb.KV/Range", g.ranges(), &pb.RangeResponse{}},
		kind{"/etcdserverpb.KV/Txn", g.careful(0), &pb.TxnResponse{}},
		kind{"/etcdserverpb.KV/DeleteRange", g.deleteRange(),
			&pb.DeleteRangeResponse{}})
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(k.request)
	if err != nil {
		return err
	}
	switch g.rng.IntN(3) {
	case 0:
		body = body[:g.rng.IntN(len(body)+1)]
	case 1:
		// Field 1000 as a varint, as bytes, as 64 and as 32 bits.
		body = append(body, pick(g, []byte{0xc0, 0x3e, 1},
			[]byte{0xc2, 0x3e, 2, 0xff, 0}, []byte{0xc1, 0x3e, 1, 2, 3, 4, 5,
				6, 7, 8}, []byte{0xc5, 0x3e, 1, 2, 3, 4})...)
	case 2:
		body = append(body, body...)
	}
	p.note(fmt.Sprintf("raw %s %s", k.method, shorten(fmt.Sprintf("%q", body))))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	x, y := both(func(s *Side) Answer {
		var out []byte
		err := Raw(ctx, s.conn, k.method, body, &out)
		if err != nil {
			answer := failure(nil, err)
			if answer.Code == "Internal" {
				// The text is that of the protobuf library.
				answer.Text = ""
			}
			return answer
		}
		reply := proto.Clone(k.reply)
		return answer(reply, proto.Unmarshal(out, reply))
	}, p.a, p.b)
	request := proto.Clone(k.request)
	proto.Reset(request)
	if proto.Unmarshal(body, request) != nil {
		request = k.request
	}
	return p.judge(request, x, y)
}

func (p *Player) unknownMethod() error {
	method := pick(p.g, "/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Put",
		"/etcdserverpb.Watch/Range", "/nothing", "/a/b/c",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
	p.note("call of " + method)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request := &pb.RangeRequest{Key: []byte("a")}
	x, y := both(func(s *Side) Answer {
		return call(ctx, s, method, request, &pb.RangeResponse{})
	}, p.a, p.b)
	return p.judge(request, x, y)
}

func (p *Player) checkWatches() error {
	for i, pair := range p.pairs {
		for _, stream := range []*watchStream{pair.a, pair.b} {
			responses, _ := stream.snapshot()
			if odd := checkOrder(responses); odd != "" {
				return p.mismatch(fmt.Sprintf("watch stream %d: %s", i, odd))
			}
		}
		if diff := pair.check(); diff != "" {
			return p.mismatch(fmt.Sprintf("watch stream %d, %s against %s: %s",
				i, p.a.Name, p.b.Name, diff))
		}
	}
	return nil
}

// settleWatch waits until the watchers that start in the past must have
// caught up.
func (p *Player) settleWatch(pair *watchPair) {
	if wait := time.Until(pair.lastPast.Add(300 * time.Millisecond)); wait > 0 {
		time.Sleep(wait)
	}
}

func (p *Player) watchPair() (*watchPair, error) {
	if len(p.pairs) == 0 {
		return p.openPair()
	}
	return pick(p.g, p.pairs...), nil
}

func (p *Player) openPair() (*watchPair, error) {
	pair, err := openPair(p.a, p.b)
	if err != nil {
		return nil, p.mismatch(fmt.Sprint("open a watch stream: ", err))
	}
	p.pairs = append(p.pairs, pair)
	return pair, nil
}

func (p *Player) watchOpenClose() error {
	if len(p.pairs) < 3 {
		p.note("open a watch stream")
		_, err := p.openPair()
		return err
	}
	p.note("close a watch stream")
	if err := p.checkWatches(); err != nil {
		return err
	}
	i := p.g.rng.IntN(len(p.pairs))
	p.Events += p.pairs[i].events
	p.pairs[i].close()
	p.pairs = append(p.pairs[:i], p.pairs[i+1:]...)
	return nil
}

func (p *Player) watchSend(pair *watchPair, request *pb.WatchRequest) error {
	p.note(Show(request))
	if err := p.checkWatches(); err != nil {
		return err
	}
	if err := pair.send(request); err != nil {
		return p.mismatch(fmt.Sprint("send on the watch stream: ", err))
	}
	return nil
}

func (p *Player) watchCreate() error {
	pair, err := p.watchPair()
	if err != nil {
		return err
	}
	if len(pair.live) >= 12 {
		return p.watchCancel()
	}
	create := p.g.watchCreate(pair.live)
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: create}}
	if err := p.watchSend(pair, request); err != nil {
		return err
	}
	created := func(r *pb.WatchResponse) bool { return r.Created }
	if !pair.await(Patience, created) {
		return p.mismatch(fmt.Sprintf("created on %s: %v, on %s: %v", p.a.Name,
			pair.a.has(created), p.b.Name, pair.b.has(created)))
	}
	responses, _ := pair.b.snapshot()
	for _, r := range responses {
		if r.Created && !r.Canceled {
			pair.live[r.WatchId] = true
		}
	}
	start := create.StartRevision
	if start != 0 && start <= p.g.revision {
		pair.lastPast = time.Now()
	}
	if start > 0 && start < p.g.compacted {
		canceled := func(r *pb.WatchResponse) bool { return r.Canceled }
		pair.await(Patience, canceled)
	}
	return p.checkWatches()
}

func (p *Player) watchCancel() error {
	pair, err := p.watchPair()
	if err != nil {
		return err
	}
	id := pick[int64](p.g, 0, 1, 5, 99, -1)
	if p.g.chance(80) {
		// The order of a map is not the seed's.
		for known := int64(0); known < 200; known++ {
			if pair.live[known] && (p.g.chance(40)) {
				id = known
				break
			}
		}
	}
	// A watcher that still catches up would be cut off somewhere.
	p.settleWatch(pair)
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
		CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
	if err := p.watchSend(pair, request); err != nil {
		return err
	}
	if pair.live[id] {
		delete(pair.live, id)
		pair.await(time.Second, func(r *pb.WatchResponse) bool {
			return r.Canceled
		})
	}
	return p.checkWatches()
}

// watchProgress asks for progress. The answer may rightly be none at all, so
// the reference gets some time, and the other as much.
func (p *Player) watchProgress() error {
	pair, err := p.watchPair()
	if err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond)
	p.settleWatch(pair)
	if err := p.checkWatches(); err != nil {
		return err
	}
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{}}}
	if err := p.watchSend(pair, request); err != nil {
		return err
	}
	pair.await(200*time.Millisecond, func(r *pb.WatchResponse) bool {
		return len(r.Events) == 0 && !r.Created
	})
	return p.checkWatches()
}
