package ledger

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Book is what one server has acknowledged, over all its lives.
type Book struct {
	mu        sync.Mutex
	acked     map[int64]change
	doubled   []string // what was acknowledged at one revision, twice
	newest    int64    // the highest revision acknowledged
	compacted int64    // the highest compaction acknowledged
	tried     int64    // the highest compaction sent
	seen      map[int64]change

	rng     *rand.Rand
	workers []*worker
}

// NewBook makes a book with the given number of writers.
func NewBook(seed uint64, writers int) *Book {
	b := &Book{acked: map[int64]change{}, seen: map[int64]change{},
		rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range writers {
		b.workers = append(b.workers, &worker{book: b,
			rng:    rand.New(rand.NewPCG(seed, uint64(i)+2)),
			prefix: fmt.Sprintf("w%d/", i), lease: int64(1000 + i),
			state: map[string]string{}})
	}
	return b
}

// Acknowledged is the number of writes booked.
func (b *Book) Acknowledged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acked)
}

func (b *Book) acknowledge(revision int64, what change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, twice := b.acked[revision]; twice {
		b.doubled = append(b.doubled, fmt.Sprintf("revision %d: %.200q, %.200q",
			revision, known, what))
	}
	b.acked[revision] = what
	b.newest = max(b.newest, revision)
}

type clients struct {
	conn  *grpc.ClientConn
	kv    pb.KVClient
	lease pb.LeaseClient
	watch pb.WatchClient
}

func dial(endpoint string) (*clients, error) {
	conn, err := grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, err
	}
	return &clients{conn, pb.NewKVClient(conn), pb.NewLeaseClient(conn),
		pb.NewWatchClient(conn)}, nil
}

// Load writes with all workers, spread over the members of a cluster, until
// the server dies under them, or the context ends: then nothing new is begun,
// and what is under way comes to its end.
func (b *Book) Load(ctx context.Context, endpoints ...string) error {
	var group sync.WaitGroup
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var ends []*clients
	defer func() {
		for _, c := range ends {
			c.conn.Close()
		}
	}()
	for i := range len(endpoints) + len(b.workers)/4 + 1 {
		c, err := dial(endpoints[i%len(endpoints)])
		if err != nil {
			return err
		}
		ends = append(ends, c)
		if i < len(endpoints) {
			go b.observe(watching, c)
		}
	}
	go b.compact(watching, ends[0], b.rng.Uint64())
	writers := ends[len(endpoints):]
	for i, w := range b.workers {
		group.Go(func() { w.run(ctx, writers[i%len(writers)]) })
	}
	group.Wait()
	return nil
}

// observe books the events that a watcher was shown: what has been shown may
// not be taken back.
func (b *Book) observe(ctx context.Context, c *clients) {
	stream, err := c.watch.Watch(ctx)
	if err != nil {
		return
	}
	if stream.Send(watchAll(0)) != nil {
		return
	}
	for {
		reply, err := stream.Recv()
		if err != nil {
			return
		}
		b.mu.Lock()
		for _, event := range reply.Events {
			record(b.seen, event)
		}
		b.mu.Unlock()
	}
}

// compact follows the load at a distance.
func (b *Book) compact(ctx context.Context, c *clients, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for ctx.Err() == nil {
		time.Sleep(time.Duration(20+rng.IntN(100)) * time.Millisecond)
		b.mu.Lock()
		revision := b.newest - 100 - rng.Int64N(400)
		if revision <= b.tried {
			b.mu.Unlock()
			continue
		}
		b.tried = revision
		b.mu.Unlock()
		_, err := c.kv.Compact(ctx, &pb.CompactionRequest{Revision: revision,
			Physical: rng.IntN(2) == 0})
		if err != nil {
			return
		}
		b.mu.Lock()
		b.compacted = max(b.compacted, revision)
		b.mu.Unlock()
	}
}

// Verify compares the server, which has to be up and idle, with the book.
func (b *Book) Verify(endpoint string) error {
	c, err := dial(endpoint)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.doubled) > 0 {
		return fmt.Errorf("acknowledged twice: %s",
			strings.Join(b.doubled, "; "))
	}
	now, revision, err := readAll(ctx, c, 0)
	if err != nil {
		return err
	}
	if revision < b.newest {
		return fmt.Errorf("the revision is %d, %d was acknowledged", revision,
			b.newest)
	}
	leases, err := readLeases(ctx, c)
	if err != nil {
		return err
	}
	for _, w := range b.workers {
		found := map[string]string{}
		for key, value := range now {
			if strings.HasPrefix(key, w.prefix) {
				found[key] = value
			}
		}
		if err := w.verify(found, leases); err != nil {
			return err
		}
	}
	if err := b.verifyHistory(ctx, c, now, revision); err != nil {
		return err
	}
	// Whatever comes next has to get a higher revision.
	b.newest = max(b.newest, revision)
	return nil
}

func readAll(ctx context.Context, c *clients, at int64) (map[string]string,
	int64, error) {
	reply, err := c.kv.Range(ctx, &pb.RangeRequest{Key: []byte{0},
		RangeEnd: []byte{0}, Revision: at})
	if err != nil {
		return nil, 0, fmt.Errorf("range at revision %d: %w", at, err)
	}
	all := map[string]string{}
	for _, kv := range reply.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all, reply.Header.Revision, nil
}

func readLeases(ctx context.Context, c *clients) (map[int64]bool, error) {
	reply, err := c.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return nil, fmt.Errorf("lease list: %w", err)
	}
	leases := map[int64]bool{}
	for _, lease := range reply.Leases {
		leases[lease.ID] = true
	}
	return leases, nil
}
