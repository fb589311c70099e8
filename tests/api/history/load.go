package history

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// patience is how long a client waits for an answer.
const patience = 2 * time.Second

// Dial connects to a member, and quickly again when that has gone wrong.
func Dial(endpoint string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(math.MaxInt32)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond,
				Multiplier: 1.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: 500 * time.Millisecond}))
}

// Load is a recorded load of one round on a cluster: clients at all members
// on a few keys of the round's own, and watchers.
type Load struct {
	Prefix string
	Keys   int
	// Size is that of the values at least; they are recorded without what fills
	// them.
	Size int
	// Pause is how long a client rests between operations, at most.
	Pause time.Duration

	begin    time.Time
	clients  sync.WaitGroup
	watchers sync.WaitGroup
	// They end what their name says.
	endClients, endWatchers context.CancelFunc

	mu     sync.Mutex
	ops    []*Op
	recent map[string]string // a value that the key had lately
	shown  [][]Event
}

// Start begins with so many clients for each of the members. Watchers are
// shown everything after the revision.
func (l *Load) Start(seed uint64, perMember int, after int64,
	conns ...*grpc.ClientConn) {
	ctx, end := context.WithCancel(context.Background())
	watching, endWatchers := context.WithCancel(context.Background())
	l.endClients, l.endWatchers = end, endWatchers
	l.begin, l.recent = time.Now(), map[string]string{}
	l.shown = make([][]Event, len(conns))
	for i, conn := range conns {
		for j := range perMember {
			client := &client{load: l, id: i*perMember + j,
				rng: rand.New(rand.NewPCG(seed, uint64(i*perMember+j))),
				kv:  pb.NewKVClient(conn)}
			l.clients.Go(func() { client.run(ctx) })
		}
		watch := pb.NewWatchClient(conn)
		l.watchers.Go(func() { l.watch(watching, i, after, watch) })
	}
}

// Now is the time in the operations' terms.
func (l *Load) Now() int64 { return int64(time.Since(l.begin)) }

// Stop lets what is under way come to its end, and waits for the watchers to
// be shown all that was acknowledged.
func (l *Load) Stop() error {
	l.endClients()
	l.clients.Wait()
	err := l.wait(10 * time.Second)
	l.endWatchers()
	l.watchers.Wait()
	return err
}

func (l *Load) wait(limit time.Duration) error {
	end := time.Now().Add(limit)
	for {
		behind := l.behind()
		if behind < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the watcher at member %d misses what has been"+
				" acknowledged", behind+1)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// behind is a watcher that hasn't been shown everything, or -1.
func (l *Load) behind() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest := int64(0)
	for _, op := range l.ops {
		if op.Known() && op.Writes() {
			newest = max(newest, op.Revision)
		}
	}
	for i, shown := range l.shown {
		if newest > 0 && (len(shown) == 0 ||
			shown[len(shown)-1].Revision < newest) {
			return i
		}
	}
	return -1
}

// Ops are the operations so far.
func (l *Load) Ops() []*Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Op{}, l.ops...)
}

// Shown is what each watcher was shown.
func (l *Load) Shown() [][]Event { return l.shown }

// ReadAll adds a read of each key at a member.
func (l *Load) ReadAll(conn *grpc.ClientConn) error {
	reader := &client{load: l, id: 1000, kv: pb.NewKVClient(conn)}
	for i := range l.Keys {
		op := &Op{Client: reader.id, Kind: Get, Key: l.key(i)}
		if err := reader.carryOut(op, 5*patience); err != nil {
			return fmt.Errorf("the last read of %s: %w", op.Key, err)
		}
	}
	return nil
}

// FirstWrite is when the first write that was asked for after the given time
// was acknowledged, Never if none was.
func (l *Load) FirstWrite(after int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := Never
	for _, op := range l.ops {
		if op.Call >= after && op.Known() && op.Writes() {
			first = min(first, op.Return)
		}
	}
	return first
}

func (l *Load) key(i int) string { return fmt.Sprintf("%sk%d", l.Prefix, i) }

type client struct {
	load   *Load
	id     int
	serial int
	rng    *rand.Rand
	kv     pb.KVClient
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := time.Duration(c.rng.Int64N(int64(c.load.Pause)))
		if c.carryOut(c.next(), patience) != nil {
			pause += 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (c *client) next() *Op {
	op := &Op{Client: c.id, Key: c.load.key(c.rng.IntN(c.load.Keys))}
	switch n := c.rng.IntN(100); {
	case n < 35:
		op.Kind = Get
	case n < 70:
		op.Kind = Put
	case n < 85:
		op.Kind = Swap
		c.load.mu.Lock()
		op.Old = c.load.recent[op.Key]
		c.load.mu.Unlock()
	case n < 93:
		op.Kind = Create
	default:
		op.Kind = Delete
	}
	if op.Kind == Swap && op.Old == "" {
		op.Kind = Create
	}
	if op.Kind != Get && op.Kind != Delete {
		c.serial++
		op.Value = fmt.Sprintf("%sc%dn%d", c.load.Prefix, c.id, c.serial)
	}
	return op
}

// carryOut records an operation, unless it certainly wasn't sent.
func (c *client) carryOut(op *Op, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	op.Call = c.load.Now()
	err := c.ask(ctx, op)
	op.Return = c.load.Now()
	if err != nil {
		op.Return = Never
		if strings.Contains(err.Error(), "Error while dialing") {
			return err
		}
	}
	c.load.mu.Lock()
	defer c.load.mu.Unlock()
	c.load.ops = append(c.load.ops, op)
	if op.Known() && op.Writes() && op.Value != "" {
		c.load.recent[op.Key] = op.Value
	}
	return err
}

func (c *client) ask(ctx context.Context, op *Op) error {
	switch op.Kind {
	case Get:
		reply, err := c.kv.Range(ctx, &pb.RangeRequest{Key: []byte(op.Key)})
		if err == nil {
			op.Revision, op.Found = reply.Header.Revision, found(reply)
		}
		return err
	case Put:
		reply, err := c.kv.Put(ctx, &pb.PutRequest{Key: []byte(op.Key),
			Value: c.load.fill(op.Value)})
		if err == nil {
			op.Revision = reply.Header.Revision
		}
		return err
	case Delete:
		reply, err := c.kv.DeleteRange(ctx,
			&pb.DeleteRangeRequest{Key: []byte(op.Key)})
		if err == nil {
			op.Revision, op.Done = reply.Header.Revision, reply.Deleted == 1
		}
		return err
	}
	reply, err := c.kv.Txn(ctx, c.load.transaction(op))
	if err == nil {
		op.Revision, op.Done = reply.Header.Revision, reply.Succeeded
		if !op.Done {
			op.Found = found(reply.Responses[0].GetResponseRange())
		}
	}
	return err
}

func (l *Load) transaction(op *Op) *pb.TxnRequest {
	compare := &pb.Compare{Key: []byte(op.Key), Target: pb.Compare_VERSION,
		TargetUnion: &pb.Compare_Version{}}
	if op.Kind == Swap {
		compare.Target = pb.Compare_VALUE
		compare.TargetUnion = &pb.Compare_Value{Value: l.fill(op.Old)}
	}
	return &pb.TxnRequest{Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte(op.Key),
				Value: l.fill(op.Value)}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: []byte(op.Key)}}}}}
}

const filling = "."

func (l *Load) fill(value string) []byte {
	return []byte(value + strings.Repeat(filling, max(0, l.Size-len(value))))
}

// bare is a value without what fills it.
func bare(value []byte) string {
	return string(bytes.TrimRight(value, filling))
}

func found(reply *pb.RangeResponse) *Found {
	if len(reply.Kvs) == 0 {
		return nil
	}
	kv := reply.Kvs[0]
	return &Found{bare(kv.Value), kv.CreateRevision, kv.ModRevision,
		kv.Version}
}

func watchAfter(ctx context.Context, watch pb.WatchClient, revision int64) (
	pb.Watch_WatchClient, error) {
	stream, err := watch.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return stream, stream.Send(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte{0},
				RangeEnd: []byte{0}, StartRevision: revision + 1}}})
}

func eventOf(event *mvccpb.Event) Event {
	return Event{event.Kv.ModRevision, string(event.Kv.Key),
		bare(event.Kv.Value), event.Type == mvccpb.Event_DELETE}
}

// watch follows the changes at a member, again from where it was when the
// stream breaks.
func (l *Load) watch(ctx context.Context, i int, after int64,
	watch pb.WatchClient) {
	for ctx.Err() == nil {
		stream, err := watchAfter(ctx, watch, after)
		for err == nil {
			var reply *pb.WatchResponse
			if reply, err = stream.Recv(); err != nil {
				break
			}
			l.mu.Lock()
			for _, event := range reply.Events {
				l.shown[i] = append(l.shown[i], eventOf(event))
				after = event.Kv.ModRevision
			}
			l.mu.Unlock()
			if reply.Canceled {
				break
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Read gives all events behind one revision up to another, as the member
// tells them.
func Read(conn *grpc.ClientConn, after, upTo int64) ([]Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var events []Event
	if after >= upTo {
		return nil, nil
	}
	stream, err := watchAfter(ctx, pb.NewWatchClient(conn), after)
	if err != nil {
		return nil, err
	}
	for {
		reply, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("watch behind %d, after %d events: %w",
				after, len(events), err)
		}
		if reply.Canceled {
			return nil, fmt.Errorf("watch behind %d: %s", after,
				reply.CancelReason)
		}
		for _, event := range reply.Events {
			if event.Kv.ModRevision > upTo {
				return events, nil
			}
			events = append(events, eventOf(event))
		}
		if len(events) > 0 && events[len(events)-1].Revision == upTo {
			return events, nil
		}
	}
}
