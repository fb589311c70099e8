package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"chorad.tests/api/history"
)

// fault is something that happens to a cluster.
type fault struct {
	name, what string
	// size is that of the values that are written.
	size int
	// within is the limit of the medians, if not the target of all.
	within  time.Duration
	options func(c *config) options
	// strike lets it happen and gives what ends it.
	strike func(r *round) (struck, error)
}

func (f *fault) limit() time.Duration {
	if f.within != 0 {
		return f.within
	}
	return target
}

// struck is a fault under way.
type struck struct {
	// left are groups of members one of which has to have a leader meanwhile.
	left [][]*member
	lift func() error
	// after looks, some time after the end, whether it was what it should be.
	after func() error
}

// round is one life of a fault: load, the fault, its end, a look at what has
// become of everything.
type round struct {
	*lab
	fault  *fault
	number int
	seed   uint64 // of all rounds
	rng    *rand.Rand
	load   *history.Load
	hold   time.Duration // how long the fault lasts
	leader *member       // as it begins
	result result
}

// result is what a round has measured. Times that don't apply are negative.
type result struct {
	acknowledged, unknown int           // writes
	without               time.Duration // from the strike to a leader of the rest
	again                 time.Duration // from the end to a leader of all
	write                 time.Duration // from the end to an acknowledged write
	note                  string
}

const (
	perMember = 3
	keys      = 10
	// electionLimit is what a round bears: the medians are held to less.
	electionLimit = 20 * time.Second
)

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

func (r *round) run(ctx context.Context, book *history.Book,
	evidence string) error {
	var err error
	if r.leader, err = leader(ctx, electionLimit, r.members); err != nil {
		return err
	}
	after, err := revision(r.leader.look)
	if err != nil {
		return err
	}
	r.load = &history.Load{Prefix: fmt.Sprintf("r%d", r.number), Keys: keys,
		Size: r.fault.size, Pause: 10 * time.Millisecond}
	var conns []*grpc.ClientConn
	for _, m := range r.members {
		conns = append(conns, m.conn)
	}
	r.load.Start(r.rng.Uint64(), perMember, after, conns...)
	failed := r.live(ctx)
	stopped := r.load.Stop()
	if failed != nil {
		return errors.Join(failed, r.deaths())
	}
	// What the audit finds says more than that a watcher hangs.
	return errors.Join(r.audit(book, after, evidence), stopped)
}

// deaths are the members whose processes have ended, and what they said last.
func (r *round) deaths() error {
	var all []error
	for _, m := range r.members {
		if !m.Alive() {
			all = append(all, fmt.Errorf("%s ended: %w\n%s", m.Name,
				m.ExitError(), m.LogTail(2)))
		}
	}
	return errors.Join(all...)
}

// live goes from before the fault to after it.
func (r *round) live(ctx context.Context) (err error) {
	sleep(ctx, between(r.rng, 300*time.Millisecond, 800*time.Millisecond))
	begin := time.Now()
	s, err := r.fault.strike(r)
	if err != nil {
		return err
	}
	r.result.without = -1
	if s.left != nil {
		if _, err := leader(ctx, electionLimit, s.left...); err != nil {
			_ = s.lift()
			return fmt.Errorf("during the fault: %w", err)
		}
		r.result.without = time.Since(begin)
	}
	sleep(ctx, r.hold-time.Since(begin))
	ended := r.load.Now()
	end := time.Now()
	if err := s.lift(); err != nil {
		return err
	}
	if s.after != nil {
		defer func() { err = errors.Join(err, s.after()) }()
	}
	if _, err := leader(ctx, electionLimit, r.members); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	r.result.again = time.Since(end)
	for r.load.FirstWrite(ended) == history.Never {
		if time.Since(end) > electionLimit {
			return fmt.Errorf("no write within %v after the fault",
				electionLimit)
		}
		sleep(ctx, 10*time.Millisecond)
	}
	r.result.write = time.Duration(r.load.FirstWrite(ended) - ended)
	sleep(ctx, 500*time.Millisecond)
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func revision(conn *grpc.ClientConn) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reply, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{
		Key: []byte("none")})
	if err != nil {
		return 0, fmt.Errorf("ask for the revision: %w", err)
	}
	return reply.Header.Revision, nil
}

// audit looks at everything that the round has left behind.
func (r *round) audit(book *history.Book, after int64, evidence string) error {
	for _, m := range r.members {
		if err := r.load.ReadAll(m.look); err != nil {
			return fmt.Errorf("at %s: %w", m.Name, err)
		}
	}
	ops := r.load.Ops()
	for _, op := range ops {
		switch {
		case !op.Known() && op.Kind != history.Get:
			r.result.unknown++
		case op.Known() && op.Writes():
			r.result.acknowledged++
		}
	}
	book.Add(ops)
	upTo, err := r.settle()
	if err != nil {
		return err
	}
	if err := r.compare(book, after, upTo, ops); err != nil {
		return err
	}
	if err := history.InOrder(ops); err != nil {
		return err
	}
	if err := r.compact(upTo); err != nil {
		return err
	}
	return history.Linearizable(ops, time.Minute,
		filepath.Join(evidence, fmt.Sprintf("round%d", r.number)))
}

// compact forgets what has been looked at, at any of the members.
func (r *round) compact(at int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := r.some(1)[0]
	_, err := pb.NewKVClient(m.look).Compact(ctx,
		&pb.CompactionRequest{Revision: at, Physical: r.rng.IntN(2) == 0})
	if err != nil {
		return fmt.Errorf("compact at %s: %w", m.Name, err)
	}
	return nil
}

// settle waits until all members are at one revision, and gives it.
func (r *round) settle() (int64, error) {
	end := time.Now().Add(electionLimit)
	var last [members]int64
	for {
		equal := true
		for i, m := range r.members {
			at, err := hash(m, 0)
			if err != nil {
				return 0, fmt.Errorf("at %s: %w", m.Name, err)
			}
			last[i] = at.HashRevision
			equal = equal && last[i] == last[0]
		}
		if equal {
			return last[0], nil
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("the members stay at revisions %v", last)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func hash(m *member, at int64) (*pb.HashKVResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pb.NewMaintenanceClient(m.look).HashKV(ctx,
		&pb.HashKVRequest{Revision: at})
}

// compare holds what each member tells against the clients' book, and the
// members against each other.
func (r *round) compare(book *history.Book, after, upTo int64,
	ops []*history.Op) error {
	var first []history.Event
	var firstHash uint32
	for i, m := range r.members {
		events, err := history.Read(m.look, after, upTo)
		if err != nil {
			return fmt.Errorf("at %s: %w", m.Name, err)
		}
		got, err := hash(m, upTo)
		if err != nil {
			return fmt.Errorf("at %s: %w", m.Name, err)
		}
		if i == 0 {
			first, firstHash = events, got.Hash
			if err := book.Audit(events, after, upTo, ops); err != nil {
				return fmt.Errorf("at %s: %w", m.Name, err)
			}
		} else if !slices.Equal(first, events) || firstHash != got.Hash {
			return fmt.Errorf("%s and %s differ: hash %x, %x",
				r.members[0].Name, m.Name, firstHash, got.Hash)
		}
	}
	for i, shown := range r.load.Shown() {
		if err := history.Shown(first, shown); err != nil {
			return fmt.Errorf("at %s: %w", r.members[i].Name, err)
		}
	}
	return nil
}
