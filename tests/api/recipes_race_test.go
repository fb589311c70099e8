package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"chorad.tests/api/harness"
)

// contest is one name that many fight for.
type contest struct {
	name   string
	holder atomic.Int64 // the lease of who has it
	mu     sync.Mutex
	last   int64 // the revision that created the last holder's key
	won    int
	gone   int // calls that were given up
	kept   int // of these, calls that had just been answered
	lost   int // calls whose key was taken away
}

// enter is called by who has won: nobody else may have it, and everyone who
// came earlier has had it.
func (c *contest) enter(lease, rev int64) error {
	if !c.holder.CompareAndSwap(0, lease) {
		return fmt.Errorf("%s: %x has it beside %x", c.name, lease,
			c.holder.Load())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.won++
	if rev <= c.last {
		return fmt.Errorf("%s: the key of revision %d comes after %d", c.name,
			rev, c.last)
	}
	c.last = rev
	return nil
}

func (c *contest) leave() { c.holder.Store(0) }

func (c *contest) count(n *int) {
	c.mu.Lock()
	*n++
	c.mu.Unlock()
}

// racer is one client among many.
type racer struct {
	*script
	rng   *rand.Rand
	lease int64
}

// attempt calls with a lease of its own, which may be taken away meanwhile, or
// gives up meanwhile. It gives the revision of the key, or 0.
func (r *racer) attempt(c *contest,
	call func(ctx context.Context) (int64, error)) (int64, error) {
	granted, err := r.script.lease.LeaseGrant(context.Background(),
		&pb.LeaseGrantRequest{TTL: 300})
	if err != nil {
		return 0, err
	}
	r.lease = granted.ID
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	disturb := r.rng.IntN(4)
	if disturb == 0 {
		ctx, cancel = context.WithTimeout(ctx,
			time.Duration(r.rng.IntN(20000))*time.Microsecond)
		defer cancel()
	}
	revoked := make(chan struct{})
	if disturb == 1 {
		wait := time.Duration(r.rng.IntN(20000)) * time.Microsecond
		time.AfterFunc(wait, func() {
			r.revokeLease(granted.ID)
			close(revoked)
		})
	}
	rev, err := call(ctx)
	if disturb == 1 {
		// Whether or not it has won, its key is gone now.
		<-revoked
	}
	code, text := status.Code(err), status.Convert(err).Message()
	switch {
	case err == nil && disturb == 1:
		return 0, nil
	case err == nil:
		return rev, nil
	case disturb == 0 && (code == codes.DeadlineExceeded ||
		text == "etcdserver: request timed out"):
		// The text is etcd's for a deadline that passes in the log.
		c.count(&c.gone)
		if !r.keyGoes(fmt.Appendf(nil, "%s/%x", c.name, r.lease)) {
			c.count(&c.kept)
		}
	case disturb == 1 && code == codes.Unknown &&
		(text == "mutex: session is expired" ||
			text == "election: not leader" ||
			text == "etcdserver: requested lease not found"):
		c.count(&c.lost)
		return 0, nil
	default:
		return 0, fmt.Errorf("%s: %w", c.name, err)
	}
	r.revokeLease(granted.ID)
	return 0, nil
}

// keyGoes waits until a key that was given up is taken away.
func (r *racer) keyGoes(key []byte) bool {
	return harness.Eventually(300*time.Millisecond, func() bool {
		answer, err := r.kv.Range(context.Background(),
			&pb.RangeRequest{Key: key})
		return err == nil && len(answer.Kvs) == 0
	})
}

func (r *racer) revokeLease(id int64) {
	_, err := r.script.lease.LeaseRevoke(context.Background(),
		&pb.LeaseRevokeRequest{ID: id})
	if err != nil {
		r.t.Errorf("revoke: %v", err)
	}
}

// created is the revision that created the key.
func (r *racer) created(key []byte) (int64, error) {
	answer, err := r.kv.Range(context.Background(),
		&pb.RangeRequest{Key: key})
	if err != nil || len(answer.Kvs) != 1 {
		return 0, fmt.Errorf("the holder's key: %v, %v", answer, err)
	}
	return answer.Kvs[0].CreateRevision, nil
}

func (r *racer) fightForLock(c *contest) error {
	var key []byte
	won, err := r.attempt(c, func(ctx context.Context) (int64, error) {
		answer, err := r.lock.Lock(ctx, &v3lockpb.LockRequest{
			Name: []byte(c.name), Lease: r.lease})
		key = answer.GetKey()
		return 1, err
	})
	if err != nil || won == 0 {
		return err
	}
	rev, err := r.created(key)
	if err != nil {
		return err
	}
	if err := c.enter(r.lease, rev); err != nil {
		return err
	}
	if r.rng.IntN(2) == 0 {
		time.Sleep(time.Duration(r.rng.IntN(500)) * time.Microsecond)
	}
	c.leave()
	switch r.rng.IntN(3) {
	case 0:
		_, err = r.kv.DeleteRange(context.Background(),
			&pb.DeleteRangeRequest{Key: key})
	case 1:
		_, err = r.lock.Unlock(context.Background(),
			&v3lockpb.UnlockRequest{Key: key})
	}
	r.revokeLease(r.lease)
	return err
}

func (r *racer) fightForLead(c *contest) error {
	var leader *v3electionpb.LeaderKey
	rev, err := r.attempt(c, func(ctx context.Context) (int64, error) {
		answer, err := r.election.Campaign(ctx, &v3electionpb.CampaignRequest{
			Name: []byte(c.name), Lease: r.lease, Value: []byte("first")})
		leader = answer.GetLeader()
		return leader.GetRev(), err
	})
	if err != nil || rev == 0 {
		return err
	}
	if err := c.enter(r.lease, rev); err != nil {
		return err
	}
	for i := range r.rng.IntN(4) {
		_, err := r.election.Proclaim(context.Background(),
			&v3electionpb.ProclaimRequest{Leader: leader,
				Value: fmt.Append(nil, i)})
		if err != nil {
			return fmt.Errorf("the leader's proclaim: %w", err)
		}
	}
	now, err := r.election.Leader(context.Background(),
		&v3electionpb.LeaderRequest{Name: []byte(c.name)})
	if err != nil || now.Kv.CreateRevision != rev {
		return fmt.Errorf("%v leads instead of revision %d, %v", now, rev, err)
	}
	c.leave()
	if r.rng.IntN(2) == 0 {
		_, err = r.election.Resign(context.Background(),
			&v3electionpb.ResignRequest{Leader: leader})
	}
	r.revokeLease(r.lease)
	return err
}

// race has many clients fight for a few names.
func race(t *testing.T, s *harness.Server, limit time.Duration,
	fight func(r *racer, c *contest) error) {
	contests := []*contest{{name: "x"}, {name: "y"}, {name: "z"}}
	var conns []*script
	for range 8 {
		conns = append(conns, newScript(t, s))
	}
	until := time.Now().Add(limit)
	var all sync.WaitGroup
	for i := range 48 {
		r := &racer{script: conns[i%len(conns)],
			rng: rand.New(rand.NewPCG(seed(), uint64(i)))}
		all.Go(func() {
			for time.Now().Before(until) && !t.Failed() {
				c := contests[r.rng.IntN(len(contests))]
				if err := fight(r, c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, c := range contests {
		t.Logf("%s: %d won, %d gave up, %d of them too late, %d lost their key",
			c.name, c.won, c.gone, c.kept, c.lost)
		if c.won < 10 {
			t.Errorf("%s was won %d times", c.name, c.won)
		}
		// An answer may cross with its client's giving up.
		if s.IsChorad() && c.kept > 2+c.gone/5 {
			t.Errorf("%s: %d of %d that gave up have left their key", c.name,
				c.kept, c.gone)
		}
	}
	if !harness.Eventually(10*time.Second, func() bool {
		return conns[0].count() == 0
	}) {
		conns[0].keys(0)
		t.Errorf("keys are left:\n%s", conns[0].text())
	}
	served(t, s)
}

// TestLockRace: at any time one client has the lock, they get it in the order
// in which they came, nobody is forgotten, and those who give up leave nothing
// behind.
func TestLockRace(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	race(t, s, 4*time.Second, (*racer).fightForLock)
}

// TestElectionRace is the same for elections, with observers who have to see
// each leader in its turn and each of its values not older than the one
// before, and at last the newest.
func TestElectionRace(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var watchers sync.WaitGroup
	var newest sync.Map
	for range 6 {
		r := newScript(t, s)
		watchers.Go(func() {
			last, err := watchLeaders(ctx, r, "x")
			if err != nil {
				t.Error(err)
			}
			newest.Store(r, last)
		})
	}
	race(t, s, 4*time.Second, (*racer).fightForLead)
	r := newScript(t, s)
	lease := r.grant(0, 300)
	leader := r.campaignNow("x", lease, "last")
	r.proclaim(leader, "the very last")
	time.Sleep(500 * time.Millisecond)
	cancel()
	watchers.Wait()
	newest.Range(func(_, last any) bool {
		if last != "the very last" {
			t.Errorf("an observer has seen %q last", last)
		}
		return true
	})
}

// watchLeaders observes until the context ends and gives the last value.
func watchLeaders(ctx context.Context, r *script,
	name string) (string, error) {
	stream, err := r.election.Observe(ctx, &v3electionpb.LeaderRequest{
		Name: []byte(name)})
	if err != nil {
		return "", err
	}
	var created, modified, seen int64
	var value string
	for {
		m, err := stream.Recv()
		if status.Code(err) == codes.Canceled {
			if seen < 20 {
				return value, fmt.Errorf("an observer has seen %d leaders",
					seen)
			}
			return value, nil
		}
		if errors.Is(err, io.EOF) || err != nil {
			return value, fmt.Errorf("an observer's stream ends: %w", err)
		}
		kv := m.Kv
		if kv.CreateRevision < created || kv.CreateRevision == created &&
			kv.ModRevision <= modified ||
			m.Header.Revision < kv.ModRevision {
			return value, fmt.Errorf("%v comes after revision %d, %d", m,
				created, modified)
		}
		if kv.CreateRevision != created {
			seen++
		}
		created, modified = kv.CreateRevision, kv.ModRevision
		value = string(kv.Value)
	}
}
