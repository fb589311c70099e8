package lockstep

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// generator makes requests out of a small universe of keys, values, leases
// and revisions, so that they often meet each other.
type generator struct {
	rng  *rand.Rand
	keys [][]byte
	// What is known from the answers so far.
	revision  int64
	compacted int64
	leases    map[int64]bool
}

func newGenerator(seed uint64) *generator {
	return &generator{
		rng:      rand.New(rand.NewPCG(seed, 0x63686f726164)),
		keys:     universe(),
		revision: 1,
		leases:   map[int64]bool{},
	}
}

func universe() [][]byte {
	keys := [][]byte{
		{0}, {0, 0}, {0, 0xff}, {0xff}, {0xff, 0xff}, {0x80, 0, 0xc3},
		[]byte("a"), []byte("a/"), []byte("a/b"), []byte("a/b/c"),
		[]byte("a\x00"), []byte("aa"), []byte("b"), []byte("b/1"),
		[]byte("\xc3\xa4\xf0\x9f\x98\x80"),
	}
	for c := byte('0'); c <= '9'; c++ {
		keys = append(keys, []byte{'k', c}, []byte{'p', '/', c})
	}
	// Longer than LMDB's and bbolt's keys may be, and different only at
	// the end.
	long := bytes.Repeat([]byte("0123456789"), 70)
	huge := bytes.Repeat([]byte("l"), 40000)
	return append(keys, long, append(bytes.Clone(long), 'x'),
		bytes.Clone(long[:511]), bytes.Clone(long[:512]), huge)
}

func pick[T any](g *generator, from ...T) T { return from[g.rng.IntN(len(from))] }

func (g *generator) chance(percent float64) bool {
	return g.rng.Float64()*100 < percent
}

func (g *generator) key() []byte {
	if g.chance(1.5) {
		return nil
	}
	if g.chance(2) {
		return []byte{'n', byte(g.rng.IntN(256)), byte(g.rng.IntN(256))}
	}
	return bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
}

func (g *generator) value() []byte {
	switch n := g.rng.IntN(100); {
	case n < 10:
		return nil
	case n < 60:
		return []byte{'v', byte('0' + g.rng.IntN(6))}
	case n < 96:
		return g.bytes(g.rng.IntN(64))
	case n < 99:
		return g.bytes(g.rng.IntN(20000))
	default:
		return g.bytes(200000)
	}
}

func (g *generator) bytes(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(g.rng.Uint32())
	}
	return out
}

// rangeEnd gives every form of a range end for the key.
func (g *generator) rangeEnd(key []byte) []byte {
	switch g.rng.IntN(12) {
	case 0, 1, 2:
		return nil
	case 3, 4:
		return []byte{0}
	case 5, 6, 7:
		return prefixEnd(key)
	case 8:
		return bytes.Clone(key)
	default:
		return bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
	}
}

func prefixEnd(key []byte) []byte {
	end := bytes.Clone(key)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

// keyRange gives a key and a range end; now and then the whole key space.
func (g *generator) keyRange() (key, end []byte) {
	if g.chance(10) {
		return []byte{0}, []byte{0}
	}
	key = g.key()
	return key, g.rangeEnd(key)
}

// rev gives revisions around all that matters.
func (g *generator) rev() int64 {
	switch g.rng.IntN(20) {
	case 0:
		return g.compacted
	case 1:
		return g.compacted - 1
	case 2:
		return g.compacted + 1
	case 3:
		return g.revision + 1
	case 4:
		return pick(g, g.revision+1000, math.MaxInt64, math.MinInt64, -1)
	case 5, 6:
		return g.revision
	default:
		return g.pastRev()
	}
}

func (g *generator) pastRev() int64 {
	first := max(g.compacted, 1)
	if g.revision <= first {
		return g.revision
	}
	return first + g.rng.Int64N(g.revision-first+1)
}

func (g *generator) maybeRev(percent float64) int64 {
	if g.chance(percent) {
		return g.rev()
	}
	return 0
}

var leaseIDs = []int64{1, 2, 3, 4, 5, 6, -5, -1, math.MaxInt64, math.MinInt64,
	7587862094143211, 0x7fffffff, 0x80000000}

// leaseID gives mostly a lease that exists.
func (g *generator) leaseID() int64 {
	if g.chance(80) {
		var known []int64
		for _, id := range leaseIDs {
			if g.leases[id] {
				known = append(known, id)
			}
		}
		if len(known) > 0 {
			return pick(g, known...)
		}
	}
	return pick(g, leaseIDs...)
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(20)}
	if g.chance(18) {
		r.Lease = g.leaseID()
	}
	if g.chance(5) {
		r.IgnoreValue = true
		if g.chance(80) {
			r.Value = nil
		}
	}
	if g.chance(5) {
		r.IgnoreLease = true
		if g.chance(80) {
			r.Lease = 0
		}
	}
	return r
}

func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	key, end := g.keyRange()
	if len(end) > 0 && g.chance(60) {
		// Wide deletes would keep the store empty.
		end = append(bytes.Clone(key), 0)
		if g.chance(50) {
			end = nil
		}
	}
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: end,
		PrevKv: g.chance(30)}
}

func (g *generator) ranges() *pb.RangeRequest {
	key, end := g.keyRange()
	r := &pb.RangeRequest{Key: key, RangeEnd: end,
		Serializable: g.chance(30), KeysOnly: g.chance(15),
		CountOnly: g.chance(10), Revision: g.maybeRev(35)}
	if g.chance(35) {
		r.Limit = pick[int64](g, 1, 2, 3, 5, 10, 100, math.MaxInt64, -1, 0,
			math.MinInt64)
	}
	if g.chance(35) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.rng.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.rng.IntN(5))
		if g.chance(4) {
			r.SortOrder = pick[pb.RangeRequest_SortOrder](g, 3, -1, 77)
		}
		if g.chance(4) {
			r.SortTarget = pick[pb.RangeRequest_SortTarget](g, 5, -1, 77)
		}
	}
	if g.chance(20) {
		for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision,
			&r.MinCreateRevision, &r.MaxCreateRevision} {
			if g.chance(40) {
				*bound = g.rev()
			}
		}
	}
	return r
}

// streamRange is a range for RangeStream, which refuses some of the options.
func (g *generator) streamRange() *pb.RangeRequest {
	r := g.ranges()
	if g.chance(75) {
		r.SortTarget, r.SortOrder = 0, 0
		r.MinModRevision, r.MaxModRevision = 0, 0
		r.MinCreateRevision, r.MaxCreateRevision = 0, 0
	}
	if r.SortOrder == pb.RangeRequest_NONE && (r.Limit < 1 || r.Limit > 10) {
		// Not refused, but etcd then sorts each chunk by itself, and loses
		// keys of ranges with more than one.
		r.SortTarget = pb.RangeRequest_KEY
	}
	return r
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key:    g.key(),
		Result: pb.Compare_CompareResult(g.rng.IntN(4)),
		Target: pb.Compare_CompareTarget(g.rng.IntN(5)),
	}
	if g.chance(25) {
		c.RangeEnd = g.rangeEnd(c.Key)
	}
	if g.chance(1) {
		c.Result = pick[pb.Compare_CompareResult](g, 4, -1, 99)
	}
	if g.chance(1) {
		c.Target = pick[pb.Compare_CompareTarget](g, 5, -1, 99)
	}
	union := int(c.Target)
	if g.chance(4) {
		union = g.rng.IntN(6)
	}
	switch union {
	case 0:
		c.TargetUnion = &pb.Compare_Version{Version: g.rng.Int64N(4)}
	case 1:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.zeroOr(g.rev())}
	case 2:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.zeroOr(g.rev())}
	case 3:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case 4:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.zeroOr(g.leaseID())}
	}
	return c
}

func (g *generator) zeroOr(n int64) int64 {
	if g.chance(40) {
		return 0
	}
	return n
}

func (g *generator) op(depth int) *pb.RequestOp {
	switch n := g.rng.IntN(100); {
	case n < 1:
		return &pb.RequestOp{}
	case n < 45:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: g.put()}}
	case n < 72:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
			RequestRange: g.ranges()}}
	case n < 85 || depth >= 3:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: g.deleteRange()}}
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{
			RequestTxn: g.txn(depth + 1)}}
	}
}

func (g *generator) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	if g.chance(1) {
		return t
	}
	for range g.rng.IntN(3) {
		t.Compare = append(t.Compare, g.compare())
	}
	most := 5 - depth
	for range g.rng.IntN(most) {
		t.Success = append(t.Success, g.op(depth))
	}
	for range g.rng.IntN(most) {
		t.Failure = append(t.Failure, g.op(depth))
	}
	if depth == 0 && deletesToEnd(t) {
		forgetIgnore(t)
	}
	return t
}

// deletesToEnd says whether the transaction deletes all from some key on.
func deletesToEnd(t *pb.TxnRequest) bool {
	for _, op := range slices.Concat(t.Success, t.Failure) {
		if bytes.Equal(op.GetRequestDeleteRange().GetRangeEnd(), []byte{0}) ||
			(op.GetRequestTxn() != nil && deletesToEnd(op.GetRequestTxn())) {
			return true
		}
	}
	return false
}

// forgetIgnore makes all puts plain: etcd doesn't see that such a delete takes
// the key of a put with ignore_value or ignore_lease, and dies of it.
func forgetIgnore(t *pb.TxnRequest) {
	for _, op := range slices.Concat(t.Success, t.Failure) {
		if put := op.GetRequestPut(); put != nil {
			put.IgnoreValue, put.IgnoreLease = false, false
		}
		if op.GetRequestTxn() != nil {
			forgetIgnore(op.GetRequestTxn())
		}
	}
}

// readTxn is a transaction of ranges only.
func (g *generator) readTxn() *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.rng.IntN(3) {
		t.Compare = append(t.Compare, g.compare())
	}
	for range 1 + g.rng.IntN(3) {
		t.Success = append(t.Success, rangeOp(g.ranges()))
		t.Failure = append(t.Failure, rangeOp(g.ranges()))
	}
	return t
}

// careful makes a transaction valid more often: the ones that random parts
// give mostly end in an error.
func (g *generator) careful(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.rng.IntN(2) {
		c := g.compare()
		c.Key = bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
		t.Compare = append(t.Compare, c)
	}
	used := g.rng.Perm(len(g.keys))
	next := func() []byte {
		k := bytes.Clone(g.keys[used[0]])
		used = used[1:]
		return k
	}
	branch := func() (ops []*pb.RequestOp) {
		for range 1 + g.rng.IntN(4) {
			switch n := g.rng.IntN(10); {
			case n < 5:
				put := putOp(next(), g.value())
				if g.chance(15) {
					put.GetRequestPut().Lease = g.leaseID()
				}
				put.GetRequestPut().PrevKv = g.chance(20)
				ops = append(ops, put)
			case n < 8 || depth >= 3:
				r := g.ranges()
				r.Revision = 0
				if len(r.Key) == 0 {
					r.Key = next()
				}
				ops = append(ops, rangeOp(r))
			case n < 9:
				ops = append(ops, deleteOp(next(), nil, g.chance(50)))
			default:
				ops = append(ops, txnOp(g.careful(depth+1)))
			}
		}
		return ops
	}
	t.Success, t.Failure = branch(), branch()
	return t
}

func putOp(key, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: key, Value: value}}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func deleteOp(key, end []byte, prev bool) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: end,
			PrevKv: prev}}}
}

func txnOp(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

// bigTxn has a number of operations around what --max-txn-ops allows, on one
// level or nested.
func (g *generator) bigTxn() *pb.TxnRequest {
	puts := func(n int) (ops []*pb.RequestOp) {
		for i := range n {
			ops = append(ops, putOp([]byte{'t', byte(i), byte(i >> 8)}, []byte("1")))
		}
		return ops
	}
	n := pick(g, 127, 128, 129)
	switch g.rng.IntN(4) {
	case 0:
		return &pb.TxnRequest{Success: puts(n)}
	case 1:
		t := &pb.TxnRequest{}
		for range n {
			t.Compare = append(t.Compare, &pb.Compare{Key: []byte("a"),
				Target: pb.Compare_MOD, Result: pb.Compare_GREATER,
				TargetUnion: &pb.Compare_ModRevision{ModRevision: 0}})
		}
		return t
	case 2:
		return &pb.TxnRequest{Success: puts(128), Failure: puts(n)}
	default:
		return &pb.TxnRequest{Success: []*pb.RequestOp{
			txnOp(&pb.TxnRequest{Success: puts(n - 1)})}}
	}
}

// bigPut is a put whose size lies around the request and message limits.
func (g *generator) bigPut() *pb.PutRequest {
	size := pick(g, 1572800, 1572824, 1572825, 1572840, 1572850, 1572860,
		1572864, 1600000, 2097100, 2097130, 2097140, 2097141, 2097142,
		2097143, 2097144, 2097145, 2097152, 2200000)
	return &pb.PutRequest{Key: []byte("big"), Value: bytes.Repeat([]byte{'x'}, size)}
}
