package lockstep

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Player plays the sequence of one seed.
type Player struct {
	a, b    *Side
	g       *generator
	index   int
	recent  []string
	pairs   []*watchPair
	expiry  map[int64]time.Time
	granted map[int64]int64
	settled time.Time // from when on past compactions are surely done
	current string
	// Restart ends both servers and starts them again; nil: no restarts.
	Restart func() error
	// Names of steps that are left out.
	Skip []string
	// How often each kind of step was played and each status was answered.
	Steps    map[string]int
	Statuses map[string]int
	Events   int
}

// NewPlayer makes a player for the two sides, whose stores must be empty.
func NewPlayer(a, b *Side, seed uint64) *Player {
	return &Player{a: a, b: b, g: newGenerator(seed),
		expiry: map[int64]time.Time{}, granted: map[int64]int64{},
		Steps:    map[string]int{},
		Statuses: map[string]int{}}
}

// Mismatch is the first difference between the two sides.
type Mismatch struct {
	Index  int
	Step   string
	Diff   string
	Recent []string
}

func (m *Mismatch) Error() string {
	return fmt.Sprintf("operation %d: %s\n%s\nbefore it:\n  %s", m.Index,
		m.Diff, m.Step, strings.Join(m.Recent, "\n  "))
}

type step struct {
	weight float64
	name   string
	play   func(*Player) error
}

// Play plays n operations and the final comparison.
func (p *Player) Play(n int) error {
	defer func() {
		for _, pair := range p.pairs {
			p.Events += pair.events
			pair.close()
		}
	}()
	steps := allSteps()
	total := 0.0
	for _, s := range steps {
		total += s.weight
	}
	for p.index = 0; p.index < n; p.index++ {
		at := p.g.rng.Float64() * total
		for _, s := range steps {
			if at -= s.weight; at < 0 {
				if slices.Contains(p.Skip, s.name) {
					break
				}
				p.Steps[s.name]++
				if err := s.play(p); err != nil {
					return err
				}
				break
			}
		}
		if p.index%16 == 15 {
			if err := p.checkWatches(); err != nil {
				return err
			}
		}
	}
	return p.finish()
}

func (p *Player) note(text string) {
	p.current = text
	p.recent = append(p.recent, text)
	if len(p.recent) > 12 {
		p.recent = p.recent[1:]
	}
}

func (p *Player) mismatch(diff string) error {
	return &Mismatch{p.index, p.current, diff, append([]string{}, p.recent...)}
}

// both runs a call on both sides at once.
func both(call func(*Side) Answer, a, b *Side) (x, y Answer) {
	done := make(chan struct{})
	go func() {
		x = call(a)
		close(done)
	}()
	y = call(b)
	<-done
	return x, y
}

// same plays one request and compares; it gives the reference's answer.
func (p *Player) same(request proto.Message) (Answer, error) {
	p.note(Show(request))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if p.g.chance(2) {
		ctx = metadata.AppendToOutgoingContext(ctx, "hasleader", "true",
			"client-api-version", "3.7.0")
	}
	x, y := both(func(s *Side) Answer { return s.do(ctx, request) }, p.a, p.b)
	return y, p.judge(request, x, y)
}

func (p *Player) judge(request proto.Message, x, y Answer) error {
	p.Statuses[y.Code+" "+y.Text]++
	if diff := difference(request, p.a, p.b, x, y); diff != "" {
		return p.mismatch(fmt.Sprintf("%s\n  %s:\n    %v\n  %s:\n    %v", diff,
			p.a.Name, x, p.b.Name, y))
	}
	for _, m := range y.Messages {
		if with, ok := m.(interface {
			GetHeader() *pb.ResponseHeader
		}); ok {
			p.g.revision = max(p.g.revision, with.GetHeader().GetRevision())
		}
	}
	return nil
}

func (p *Player) simple(request proto.Message) error {
	_, err := p.same(request)
	return err
}

func allSteps() []step {
	kv := func(make func(*generator) proto.Message) func(*Player) error {
		return func(p *Player) error { return p.simple(make(p.g)) }
	}
	return []step{
		{30, "put", kv(func(g *generator) proto.Message { return g.put() })},
		{6, "delete", kv(func(g *generator) proto.Message {
			return g.deleteRange()
		})},
		{20, "range", kv(func(g *generator) proto.Message { return g.ranges() })},
		{4, "range stream", (*Player).rangeStream},
		{5, "txn", kv(func(g *generator) proto.Message { return g.txn(0) })},
		{9, "careful txn", kv(func(g *generator) proto.Message {
			return g.careful(0)
		})},
		{2, "read txn", kv(func(g *generator) proto.Message {
			return g.readTxn()
		})},
		{0.7, "big txn", kv(func(g *generator) proto.Message {
			return g.bigTxn()
		})},
		{0.5, "big put", kv(func(g *generator) proto.Message {
			return g.bigPut()
		})},
		{3, "lease grant", (*Player).leaseGrant},
		{0.5, "lease grant with the server's id", (*Player).leaseAuto},
		{1.2, "lease revoke", (*Player).leaseRevoke},
		{2, "lease time to live", kv(func(g *generator) proto.Message {
			return &pb.LeaseTimeToLiveRequest{ID: g.leaseID(),
				Keys: g.chance(60)}
		})},
		{1, "lease list", (*Player).leaseList},
		{2, "lease keep-alive", (*Player).leaseKeepAlive},
		{1.5, "compact", (*Player).compact},
		{3, "watch create", (*Player).watchCreate},
		{1.5, "watch cancel", (*Player).watchCancel},
		{0.8, "watch progress", (*Player).watchProgress},
		{0.4, "watch open or close", (*Player).watchOpenClose},
		{2, "hash of the keys", (*Player).hashKV},
		{0.2, "hash", kv(func(*generator) proto.Message {
			return &pb.HashRequest{}
		})},
		{0.8, "status", (*Player).status},
		{0.4, "alarms", (*Player).alarms},
		{0.3, "members", kv(func(g *generator) proto.Message {
			return &pb.MemberListRequest{Linearizable: g.chance(50)}
		})},
		{0.4, "health", (*Player).health},
		{0.7, "raw bytes", (*Player).raw},
		{0.3, "unknown method", (*Player).unknownMethod},
		{0.1, "restart", (*Player).restart},
		{0.05, "defragment", kv(func(*generator) proto.Message {
			return &pb.DefragmentRequest{}
		})},
	}
}

// rangeStream compares the chunks put together: where they are cut is the
// server's own business.
// rangeStream leaves out a sort target without an order: etcd sorts each piece
// by itself then and goes on behind whatever key came last, so that keys are
// missing or come twice.
func (p *Player) rangeStream() error {
	request := p.g.streamRange()
	if request.SortOrder == pb.RangeRequest_NONE {
		request.SortTarget = pb.RangeRequest_KEY
	}
	return p.streamOf(request)
}

func (p *Player) streamOf(request *pb.RangeRequest) error {
	p.note("stream of " + Show(request))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	x, y := both(func(s *Side) Answer {
		answer := s.rangeStream(ctx, request)
		answer.Messages = merged(answer.Messages)
		return answer
	}, p.a, p.b)
	return p.judge(request, x, y)
}

// merged puts the chunks together; all but the last one carry keys alone.
func merged(chunks []proto.Message) []proto.Message {
	if len(chunks) == 0 {
		return nil
	}
	whole := &pb.RangeResponse{}
	for i, chunk := range chunks {
		part := chunk.(*pb.RangeStreamResponse).GetRangeResponse()
		whole.Kvs = append(whole.Kvs, part.GetKvs()...)
		if i == len(chunks)-1 {
			whole.Header, whole.More, whole.Count = part.GetHeader(),
				part.GetMore(), part.GetCount()
		} else if part.GetHeader() != nil || part.GetMore() ||
			part.GetCount() != 0 || len(part.GetKvs()) == 0 {
			return chunks
		}
	}
	return []proto.Message{whole}
}

func (p *Player) leaseGrant() error {
	g := p.g
	request := &pb.LeaseGrantRequest{ID: pick(g, leaseIDs...),
		TTL: 600 + g.rng.Int64N(5000)}
	if g.chance(8) {
		request.TTL = pick[int64](g, 9000000000, 9000000001, 1<<62)
	}
	if g.chance(15) && !g.leases[request.ID] {
		return p.shortLease(request.ID)
	}
	answer, err := p.same(request)
	if err == nil && answer.Code == "OK" {
		g.leases[request.ID] = true
		p.granted[request.ID] = min(request.TTL, 1e9)
		p.renew(request.ID)
	}
	return err
}

// shortLease sees how a time to live below the minimum is raised. The lease
// is gone again before it can expire.
func (p *Player) shortLease(id int64) error {
	ttl := pick[int64](p.g, 0, -1, 1, 2, 3)
	if err := p.simple(&pb.LeaseGrantRequest{ID: id, TTL: ttl}); err != nil {
		return err
	}
	return p.simple(&pb.LeaseRevokeRequest{ID: id})
}

// leaseAuto lets the servers choose the id, each its own.
func (p *Player) leaseAuto() error {
	p.note("lease grant with id 0, and its revocation")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	x, y := both(func(s *Side) Answer {
		granted := s.do(ctx, &pb.LeaseGrantRequest{TTL: 1000})
		if granted.Code != "OK" {
			return granted
		}
		reply := granted.Messages[0].(*pb.LeaseGrantResponse)
		if reply.ID <= 0 {
			return Answer{Code: "odd", Text: fmt.Sprint("lease id ", reply.ID)}
		}
		revoked := s.do(ctx, &pb.LeaseRevokeRequest{ID: reply.ID})
		reply.ID = 1
		return Answer{append(granted.Messages, revoked.Messages...),
			revoked.Code, revoked.Text}
	}, p.a, p.b)
	return p.judge(nil, x, y)
}

// renew books that a lease has all its time again.
func (p *Player) renew(id int64) {
	p.expiry[id] = time.Now().Add(
		time.Duration(p.granted[id]) * time.Second)
}

func (p *Player) leaseRevoke() error {
	id := p.g.leaseID()
	answer, err := p.same(&pb.LeaseRevokeRequest{ID: id})
	if answer.Code == "OK" {
		delete(p.g.leases, id)
		delete(p.expiry, id)
	}
	return err
}

func (p *Player) leaseKeepAlive() error {
	id := p.g.leaseID()
	answer, err := p.same(&pb.LeaseKeepAliveRequest{ID: id})
	if err == nil && answer.Code == "OK" {
		ttl := answer.Messages[0].(*pb.LeaseKeepAliveResponse).TTL
		if ttl > 0 {
			p.renew(id)
		}
	}
	return err
}

// leaseList compares the set, and of each side the order: by the time that
// remains, which the leader alone knows.
func (p *Player) leaseList() error {
	p.note("lease list")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request := &pb.LeaseLeasesRequest{}
	x, y := both(func(s *Side) Answer { return s.do(ctx, request) }, p.a, p.b)
	for i, answer := range []Answer{x, y} {
		side := []*Side{p.a, p.b}[i]
		if answer.Code != "OK" || side.self != side.leader {
			continue
		}
		list := answer.Messages[0].(*pb.LeaseLeasesResponse).Leases
		if !sort.SliceIsSorted(list, func(i, j int) bool {
			return p.expiry[list[i].ID].Add(3 * time.Second).Before(
				p.expiry[list[j].ID])
		}) {
			return p.mismatch(fmt.Sprintf("not in the order of expiry: %v", answer))
		}
	}
	return p.judge(request, x, y)
}

func (p *Player) compact() error {
	g := p.g
	rev := g.rev()
	if g.chance(60) {
		rev = g.pastRev()
		rev -= (g.revision - rev) / 2
	}
	// Watchers that still catch up, or read previous values, would see the
	// compaction at a time of their own.
	time.Sleep(30 * time.Millisecond)
	for _, pair := range p.pairs {
		p.settleWatch(pair)
	}
	if err := p.checkWatches(); err != nil {
		return err
	}
	request := &pb.CompactionRequest{Revision: rev, Physical: g.chance(50)}
	answer, err := p.same(request)
	if answer.Code == "OK" {
		g.compacted = rev
		p.settled = time.Now().Add(300 * time.Millisecond)
	}
	return err
}

// hashKV compares hashes at all kinds of revisions. The hash of the compacted
// revision itself is another one until the compaction is through.
func (p *Player) hashKV() error {
	rev := p.g.maybeRev(75)
	if rev == p.g.compacted {
		time.Sleep(time.Until(p.settled))
	}
	return p.simple(&pb.HashKVRequest{Revision: rev})
}

func (p *Player) status() error {
	answer, err := p.same(&pb.StatusRequest{})
	if err == nil && answer.Code != "OK" {
		return p.mismatch("Status fails")
	}
	return err
}
