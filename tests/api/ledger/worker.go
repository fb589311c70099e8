// Package ledger loads a server, keeps a book of what it acknowledged, and
// after a crash finds out whether the server still knows it all.
package ledger

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// gone is the value of a key that was deleted.
const gone = "\x00gone"

// change is what one write does: all of it, at one revision, or nothing.
type change map[string]string

// worker owns the keys under its prefix and the lease with its id; nobody
// else writes there, so that it knows what has to be there.
type worker struct {
	book    *Book
	rng     *rand.Rand
	prefix  string
	lease   int64
	leased  bool
	state   map[string]string
	pending change // sent before the crash, and never answered
	serial  int
}

func (w *worker) key() string {
	return fmt.Sprintf("%s%d", w.prefix, w.rng.IntN(12))
}

func (w *worker) value() string {
	w.serial++
	pad := ""
	if w.rng.IntN(20) == 0 {
		pad = fmt.Sprintf("%0*d", w.rng.IntN(8000), 0)
	}
	return fmt.Sprintf("%s-%d-%s", w.prefix, w.serial, pad)
}

// run writes until the context ends or the server does. The end of the context
// doesn't cut off a write: in a cluster it may happen long after that.
func (w *worker) run(ctx context.Context, c *clients) {
	for ctx.Err() == nil {
		unhurried, cancel := context.WithTimeout(context.WithoutCancel(ctx),
			30*time.Second)
		known := w.step(unhurried, c)
		cancel()
		if !known {
			return
		}
	}
}

// step makes one write; false means that its outcome is unknown.
func (w *worker) step(ctx context.Context, c *clients) bool {
	switch n := w.rng.IntN(20); {
	case n < 11:
		return w.put(ctx, c)
	case n < 14:
		return w.delete(ctx, c)
	case n < 18:
		return w.txn(ctx, c)
	default:
		return w.leaseStep(ctx, c)
	}
}

// settle books an answer. What was changed only counts when the server says
// that it moved the revision.
func (w *worker) settle(what change, header *pb.ResponseHeader, err error) bool {
	if err != nil {
		w.pending = what
		return false
	}
	if len(what) > 0 {
		w.book.acknowledge(header.Revision, what)
	}
	w.adopt(what)
	return true
}

func (w *worker) adopt(what change) {
	for key, value := range what {
		if value == gone {
			delete(w.state, key)
		} else {
			w.state[key] = value
		}
	}
}

func (w *worker) put(ctx context.Context, c *clients) bool {
	request := &pb.PutRequest{Key: []byte(w.key()), Value: []byte(w.value())}
	if w.leased && w.rng.IntN(4) == 0 {
		request.Lease = w.lease
	}
	reply, err := c.kv.Put(ctx, request)
	return w.settle(change{string(request.Key): string(request.Value)},
		reply.GetHeader(), err)
}

func (w *worker) delete(ctx context.Context, c *clients) bool {
	what := change{}
	key := w.key()
	if _, ok := w.state[key]; ok {
		what[key] = gone
	}
	reply, err := c.kv.DeleteRange(ctx,
		&pb.DeleteRangeRequest{Key: []byte(key)})
	return w.settle(what, reply.GetHeader(), err)
}

func (w *worker) txn(ctx context.Context, c *clients) bool {
	what := change{}
	request := &pb.TxnRequest{}
	for range 1 + w.rng.IntN(3) {
		key := w.key()
		if _, twice := what[key]; twice {
			continue
		}
		what[key] = w.value()
		request.Success = append(request.Success, &pb.RequestOp{
			Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
				Key: []byte(key), Value: []byte(what[key])}}})
	}
	for key := range w.state {
		if _, twice := what[key]; twice {
			continue
		}
		what[key] = gone
		request.Success = append(request.Success, &pb.RequestOp{
			Request: &pb.RequestOp_RequestDeleteRange{
				RequestDeleteRange: &pb.DeleteRangeRequest{
					Key: []byte(key)}}})
		break
	}
	reply, err := c.kv.Txn(ctx, request)
	return w.settle(what, reply.GetHeader(), err)
}

// leaseStep grants the worker's lease or revokes it. With the lease go the
// keys that were last put under it; which those are, the server is asked.
func (w *worker) leaseStep(ctx context.Context, c *clients) bool {
	if !w.leased {
		_, err := c.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: w.lease,
			TTL: 3600})
		if err != nil {
			w.pending = change{}
			return false
		}
		w.leased = true
		return true
	}
	info, err := c.lease.LeaseTimeToLive(ctx,
		&pb.LeaseTimeToLiveRequest{ID: w.lease, Keys: true})
	if err != nil {
		w.pending = change{}
		return false
	}
	what := change{}
	for _, key := range info.Keys {
		what[string(key)] = gone
	}
	reply, err := c.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: w.lease})
	if err == nil {
		w.leased = false
	}
	return w.settle(what, reply.GetHeader(), err)
}

// verify compares what the server has under the prefix with the book, and
// takes over what has become of the unanswered write.
func (w *worker) verify(found map[string]string, leases map[int64]bool) error {
	want := maps.Clone(w.state)
	pending := w.pending
	w.pending = nil
	if pending == nil {
		if w.leased && !leases[w.lease] {
			return fmt.Errorf("lease %d is lost", w.lease)
		}
		if !w.leased && leases[w.lease] {
			return fmt.Errorf("lease %d is back", w.lease)
		}
	}
	w.leased = leases[w.lease]
	if maps.Equal(found, want) {
		return nil
	}
	w.adopt(pending)
	if maps.Equal(found, w.state) {
		return nil
	}
	return fmt.Errorf("the keys under %s differ: %s", w.prefix,
		stateDifference(found, want, pending))
}

func stateDifference(found, want map[string]string, pending change) string {
	text := ""
	for key, value := range want {
		if found[key] != value {
			text += fmt.Sprintf("\n  %s is %.40q, acknowledged %.40q", key,
				found[key], value)
		}
	}
	for key, value := range found {
		if _, ok := want[key]; !ok {
			text += fmt.Sprintf("\n  %s is %.40q, was deleted", key, value)
		}
	}
	for key, value := range pending {
		text += fmt.Sprintf("\n  unanswered: %s to %.40q", key, value)
	}
	return text
}
