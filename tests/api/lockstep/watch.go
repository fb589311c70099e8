package lockstep

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// watchStream is one Watch call on one side; its receiver only collects.
type watchStream struct {
	stream pb.Watch_WatchClient
	cancel context.CancelFunc

	mu      sync.Mutex
	pending []*pb.WatchResponse
	err     error
}

func (s *Side) openWatch() (*watchStream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &watchStream{stream: stream, cancel: cancel}
	go w.receive(s)
	return w, nil
}

func (w *watchStream) receive(s *Side) {
	for {
		message, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
			w.mu.Unlock()
			return
		}
		normal := s.normal(message).(*pb.WatchResponse)
		w.pending = join(w.pending, normal)
		w.mu.Unlock()
	}
}

// join appends a response; the fragments of one response become one again.
func join(all []*pb.WatchResponse, next *pb.WatchResponse) []*pb.WatchResponse {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].WatchId != next.WatchId {
			continue
		}
		if all[i].Fragment {
			all[i].Events = append(all[i].Events, next.Events...)
			all[i].Fragment = next.Fragment
			return all
		}
		break
	}
	return append(all, next)
}

// snapshot gives what has come and isn't compared yet.
func (w *watchStream) snapshot() ([]*pb.WatchResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending[:len(w.pending):len(w.pending)], w.err
}

func (w *watchStream) drop(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = w.pending[n:]
}

// has says whether a response that fits has come and isn't compared yet.
func (w *watchStream) has(fits func(*pb.WatchResponse) bool) bool {
	responses, _ := w.snapshot()
	for _, r := range responses {
		if fits(r) {
			return true
		}
	}
	return false
}

// watchPair is the same stream on both sides.
type watchPair struct {
	a, b     *watchStream
	live     map[int64]bool
	lastPast time.Time
	events   int
}

func openPair(a, b *Side) (*watchPair, error) {
	p := &watchPair{live: map[int64]bool{}}
	var err error
	if p.a, err = a.openWatch(); err != nil {
		return nil, err
	}
	if p.b, err = b.openWatch(); err != nil {
		p.a.cancel()
		return nil, err
	}
	return p, nil
}

func (p *watchPair) close() {
	p.a.cancel()
	p.b.cancel()
}

func (p *watchPair) send(request *pb.WatchRequest) error {
	if err := p.a.stream.Send(request); err != nil {
		return err
	}
	return p.b.stream.Send(request)
}

// Patience is how long the watch events of one side may lag behind.
var Patience = 10 * time.Second

// await waits until both sides have a fitting response.
func (p *watchPair) await(limit time.Duration,
	fits func(*pb.WatchResponse) bool) bool {
	return eventually(limit, func() bool { return p.a.has(fits) && p.b.has(fits) })
}

func eventually(limit time.Duration, holds func() bool) bool {
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(500 * time.Microsecond)
	}
	return true
}

// check waits until both sides have sent the same; otherwise it says how
// they differ.
func (p *watchPair) check() string {
	var diff string
	eventually(Patience, func() bool {
		diff = p.compare()
		return diff == ""
	})
	return diff
}

func (p *watchPair) compare() string {
	x, errA := p.a.snapshot()
	y, errB := p.b.snapshot()
	if errA != nil || errB != nil {
		return fmt.Sprintf("the watch stream ended: %v against %v", errA, errB)
	}
	lanesA, lanesB := lanes(x), lanes(y)
	for id := range lanesB {
		if _, ok := lanesA[id]; !ok {
			lanesA[id] = nil
		}
	}
	for id := range lanesA {
		if diff := laneDifference(lanesA[id], lanesB[id]); diff != "" {
			return fmt.Sprintf("watcher %d: %s", id, diff)
		}
	}
	for _, r := range y {
		p.events += len(r.Events)
	}
	p.a.drop(len(x))
	p.b.drop(len(y))
	return ""
}

// lanes splits the responses by watcher and into single events: how many
// revisions one response carries depends on how far behind the sender was.
func lanes(all []*pb.WatchResponse) map[int64][]proto.Message {
	split := map[int64][]proto.Message{}
	for _, r := range all {
		id := r.WatchId
		if len(r.Events) == 0 {
			split[id] = append(split[id], r)
			continue
		}
		for _, event := range r.Events {
			split[id] = append(split[id], event)
		}
	}
	return split
}

func laneDifference(x, y []proto.Message) string {
	for i := 0; i < len(x) && i < len(y); i++ {
		if !proto.Equal(x[i], y[i]) {
			return fmt.Sprintf("message %d of %d/%d\n    %s\n  against\n    %s",
				i, len(x), len(y), Show(x[i]), Show(y[i]))
		}
	}
	if len(x) == len(y) {
		return ""
	}
	longer := x
	if len(y) > len(x) {
		longer = y
	}
	first := min(len(x), len(y))
	return fmt.Sprintf("%d messages against %d; the first one more is\n    %s",
		len(x), len(y), Show(longer[first]))
}

// checkOrder looks at what one side must keep to whatever the other does:
// the events of a watcher in the order of revisions, none above the header,
// and those of one revision in one response.
func checkOrder(all []*pb.WatchResponse) string {
	last := map[int64]int64{}
	for _, r := range all {
		if r.Created {
			last[r.WatchId] = 0
		}
		for i, event := range r.Events {
			rev := event.Kv.ModRevision
			if i == 0 && rev == last[r.WatchId] {
				return fmt.Sprintf("watcher %d: revision %d in two responses",
					r.WatchId, rev)
			}
			if rev < last[r.WatchId] {
				return fmt.Sprintf("watcher %d: revision %d after %d",
					r.WatchId, rev, last[r.WatchId])
			}
			last[r.WatchId] = rev
			if r.Header.GetRevision() < rev {
				return fmt.Sprintf("watcher %d: header %d below event %d",
					r.WatchId, r.Header.GetRevision(), rev)
			}
		}
	}
	return ""
}

// watchCreate makes all kinds of watchers, and wrong ones.
func (g *generator) watchCreate(ids map[int64]bool) *pb.WatchCreateRequest {
	key, end := g.keyRange()
	r := &pb.WatchCreateRequest{Key: key, RangeEnd: end, PrevKv: g.chance(35),
		Fragment: g.chance(15), ProgressNotify: g.chance(10)}
	switch n := g.rng.IntN(10); {
	case n < 5:
	case n < 8:
		r.StartRevision = g.pastRev()
	default:
		r.StartRevision = g.rev()
	}
	if g.chance(12) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NOPUT)
	}
	if g.chance(12) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NODELETE)
	}
	if g.chance(20) {
		r.WatchId = pick[int64](g, 1, 2, 3, 7, 100, 1<<40, -1, -7)
		if g.chance(30) {
			for id := range ids {
				r.WatchId = id
			}
		}
	}
	return r
}
