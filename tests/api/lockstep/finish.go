package lockstep

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// finish compares all that is left in the two stores: hashes, keys, leases,
// history; at last how a lease expires.
func (p *Player) finish() error {
	time.Sleep(400 * time.Millisecond)
	if err := p.checkWatches(); err != nil {
		return err
	}
	everything := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	if _, err := p.same(everything); err != nil {
		return err
	}
	if err := p.hashes(); err != nil {
		return err
	}
	if err := p.leaseList(); err != nil {
		return err
	}
	for _, id := range leaseIDs {
		err := p.simple(&pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
		if err != nil {
			return err
		}
	}
	for rev := p.g.compacted; rev <= p.g.revision; rev += 1 +
		(p.g.revision-p.g.compacted)/40 {
		past := proto.Clone(everything).(*pb.RangeRequest)
		past.Revision = rev
		if err := p.simple(past); err != nil {
			return err
		}
	}
	if err := p.bulk(); err != nil {
		return err
	}
	if err := p.fragments(); err != nil {
		return err
	}
	if err := p.expire(); err != nil {
		return err
	}
	return p.history()
}

func (p *Player) hashes() error {
	time.Sleep(time.Until(p.settled))
	for _, rev := range []int64{0, p.g.compacted, p.g.compacted + 1,
		(p.g.compacted + p.g.revision) / 2, p.g.revision - 1, p.g.revision} {
		if err := p.simple(&pb.HashKVRequest{Revision: rev}); err != nil {
			return err
		}
	}
	return nil
}

// history watches from the oldest revision there is, on a fresh stream.
func (p *Player) history() error {
	pair, err := p.openPair()
	if err != nil {
		return err
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte{0},
			RangeEnd: []byte{0}, StartRevision: max(p.g.compacted, 1),
			PrevKv: true}}}
	if err := p.watchSend(pair, create); err != nil {
		return err
	}
	last := func(r *pb.WatchResponse) bool {
		n := len(r.Events)
		return n > 0 && r.Events[n-1].Kv.ModRevision == p.g.revision
	}
	if !pair.await(20*time.Second, last) {
		return p.mismatch(fmt.Sprintf(
			"the history up to revision %d has come on %s: %v, on %s: %v",
			p.g.revision, p.a.Name, pair.a.has(last), p.b.Name,
			pair.b.has(last)))
	}
	return p.checkWatches()
}

// bulk has more keys and more revisions than fit one batch of anything.
func (p *Player) bulk() error {
	start := p.g.revision + 1
	for i := range 25 {
		txn := &pb.TxnRequest{}
		for j := range 100 {
			key := fmt.Sprintf("bulk/%04d", (i*100+j)*7919%2500)
			txn.Success = append(txn.Success, putOp([]byte(key),
				[]byte(fmt.Sprint(i*100+j))))
		}
		if err := p.simple(txn); err != nil {
			return err
		}
	}
	for i := range 1200 {
		key := fmt.Sprintf("bulk/%04d", i*31%2500)
		err := p.simple(&pb.PutRequest{Key: []byte(key), PrevKv: true})
		if err != nil {
			return err
		}
	}
	pair, err := p.openPair()
	if err != nil {
		return err
	}
	all := &pb.RangeRequest{Key: []byte("bulk/"), RangeEnd: []byte("bulk0")}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: all.Key,
			RangeEnd: all.RangeEnd, StartRevision: start, PrevKv: true}}}
	if err := p.watchSend(pair, create); err != nil {
		return err
	}
	for _, limit := range []int64{0, 1, 10, 11, 999, 1000, 1001, 2500} {
		limited := proto.Clone(all).(*pb.RangeRequest)
		limited.Limit = limit
		if err := p.simple(limited); err != nil {
			return err
		}
		if err := p.streamOf(limited); err != nil {
			return err
		}
		limited.SortTarget = pb.RangeRequest_MOD
		limited.SortOrder = pb.RangeRequest_DESCEND
		if err := p.simple(limited); err != nil {
			return err
		}
	}
	err = p.simple(&pb.DeleteRangeRequest{Key: all.Key, RangeEnd: all.RangeEnd,
		PrevKv: true})
	if err != nil {
		return err
	}
	last := func(r *pb.WatchResponse) bool {
		n := len(r.Events)
		return n > 0 && r.Events[n-1].Kv.ModRevision == p.g.revision
	}
	if !pair.await(Patience, last) {
		return p.mismatch(fmt.Sprintf("the watch through all of it ends on "+
			"%s: %v, on %s: %v", p.a.Name, pair.a.has(last), p.b.Name,
			pair.b.has(last)))
	}
	if err := p.checkWatches(); err != nil {
		return err
	}
	compact := &pb.CompactionRequest{Revision: p.g.revision - 600,
		Physical: true}
	if err := p.simple(compact); err != nil {
		return err
	}
	p.g.compacted = compact.Revision
	return p.hashes()
}

// fragments makes watch responses that have to be sent in parts, and one that
// may not be.
func (p *Player) fragments() error {
	for i := range 3 {
		value := make([]byte, 900000)
		for j := range value {
			value[j] = byte(i + j)
		}
		key := []byte{'f', byte('0' + i)}
		err := p.simple(&pb.PutRequest{Key: key, Value: value})
		if err != nil {
			return err
		}
	}
	start := p.g.revision - 2
	for _, fragment := range []bool{true, false} {
		pair, err := p.openPair()
		if err != nil {
			return err
		}
		create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte("f"),
				RangeEnd: []byte("g"), StartRevision: start,
				Fragment: fragment}}}
		if err := p.watchSend(pair, create); err != nil {
			return err
		}
		pair.await(Patience, func(r *pb.WatchResponse) bool {
			return len(r.Events) == 3 && !r.Fragment
		})
		if err := p.checkWatches(); err != nil {
			return err
		}
		if pair.events != 3 {
			return p.mismatch(fmt.Sprintf("%d events of 3 came", pair.events))
		}
	}
	return p.simple(&pb.DeleteRangeRequest{Key: []byte("f"),
		RangeEnd: []byte("g")})
}

// expire lets a lease with several keys run out under a watcher.
func (p *Player) expire() error {
	pair, err := p.openPair()
	if err != nil {
		return err
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("e/"),
			RangeEnd: []byte("e0"), PrevKv: true}}}
	if err := p.watchSend(pair, create); err != nil {
		return err
	}
	const id = 9999
	err = p.simple(&pb.LeaseGrantRequest{ID: id, TTL: 1})
	for _, key := range []string{"e/3", "e/1", "e/2", "e/10"} {
		if err == nil {
			err = p.simple(&pb.PutRequest{Key: []byte(key), Lease: id,
				Value: []byte(key)})
		}
	}
	if err == nil {
		err = p.simple(&pb.PutRequest{Key: []byte("e/2"), IgnoreValue: true})
	}
	if err != nil {
		return err
	}
	p.note("the lease expires")
	gone := func(r *pb.WatchResponse) bool {
		return len(r.Events) > 0 && r.Events[0].GetPrevKv().GetLease() == id &&
			len(r.Events) == 3
	}
	if !pair.await(10*time.Second, gone) {
		return p.mismatch(fmt.Sprintf("expired on %s: %v, on %s: %v", p.a.Name,
			pair.a.has(gone), p.b.Name, pair.b.has(gone)))
	}
	p.g.revision++
	if err := p.checkWatches(); err != nil {
		return err
	}
	err = p.simple(&pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if err != nil {
		return err
	}
	return p.simple(&pb.RangeRequest{Key: []byte("e/"), RangeEnd: []byte("e0")})
}
