package etcd37

import (
	"bytes"
	"math/rand"
	"testing"

	"chorad.tests/interop/peer/common"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

type quiet struct{ raft.DefaultLogger }

func (*quiet) Debug(...any)            {}
func (*quiet) Debugf(string, ...any)   {}
func (*quiet) Info(...any)             {}
func (*quiet) Infof(string, ...any)    {}
func (*quiet) Warning(...any)          {}
func (*quiet) Warningf(string, ...any) {}

// cluster is three members of etcd's own core whose messages are kept as bytes.
type cluster struct {
	t       *testing.T
	nodes   map[uint64]*raft.RawNode
	storage map[uint64]*raft.MemoryStorage
	seen    [][]byte
	types   map[raftpb.MessageType]bool
	cut     uint64
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, nodes: map[uint64]*raft.RawNode{}, storage: map[uint64]*raft.MemoryStorage{},
		types: map[raftpb.MessageType]bool{}}
	for id := uint64(1); id <= 3; id++ {
		s := raft.NewMemoryStorage()
		if err := s.ApplySnapshot(&raftpb.Snapshot{Data: []byte("start"),
			Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(1)), Term: new(uint64(1)),
				ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}); err != nil {
			t.Fatal(err)
		}
		node, err := raft.NewRawNode(&raft.Config{ID: id, ElectionTick: 10, HeartbeatTick: 1,
			Storage: s, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256, CheckQuorum: true,
			PreVote: true, Applied: 1, Logger: &quiet{}})
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[id], c.storage[id] = node, s
	}
	return c
}

// turn carries out what all members want, until none wants anything.
func (c *cluster) turn() {
	for again := true; again; {
		again = false
		for id, n := range c.nodes {
			if !n.HasReady() {
				continue
			}
			again = true
			rd := n.Ready()
			if rd.Snapshot != nil && !raft.IsEmptySnap(rd.Snapshot) {
				c.storage[id].ApplySnapshot(rd.Snapshot)
			}
			if rd.HardState != nil && !raft.IsEmptyHardState(rd.HardState) {
				c.storage[id].SetHardState(rd.HardState)
			}
			c.storage[id].Append(rd.Entries)
			n.Advance(rd)
			for _, m := range rd.Messages {
				c.deliver(m)
			}
		}
	}
}

func (c *cluster) deliver(m *raftpb.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.seen = append(c.seen, b)
	c.types[m.GetType()] = true
	if m.GetTo() == c.cut || m.GetFrom() == c.cut {
		return
	}
	c.nodes[m.GetTo()].Step(m)
	if m.GetType() == raftpb.MsgSnap {
		c.nodes[m.GetFrom()].ReportSnapshot(m.GetTo(), raft.SnapshotFinish)
	}
}

func (c *cluster) tick(n int) {
	for range n {
		for _, node := range c.nodes {
			node.Tick()
		}
		c.turn()
	}
}

// withoutNormal leaves out that an entry is a normal one. etcd says so of those
// that stand for a refused configuration change, and of no others.
func withoutNormal(t *testing.T, b []byte) []byte {
	t.Helper()
	var m raftpb.Message
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	changed := false
	for _, e := range m.Entries {
		if e.Type != nil && e.GetType() == raftpb.EntryNormal && len(e.Data) == 0 {
			e.Type = nil
			changed = true
		}
	}
	if !changed {
		return b
	}
	b, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What etcd's core says comes out of chorad's encoder as it went into the
// decoder, byte for byte.
func TestBytes(t *testing.T) {
	c := newCluster(t)
	rnd := rand.New(rand.NewSource(1))
	c.nodes[1].Campaign()
	c.turn()
	for i := range 400 {
		id := uint64(1 + rnd.Intn(3))
		data := make([]byte, rnd.Intn(300))
		switch rnd.Intn(12) {
		case 0:
			c.nodes[id].TransferLeader(uint64(1 + rnd.Intn(3)))
		case 1:
			c.cut = uint64(rnd.Intn(4))
		case 2, 3:
			c.nodes[id].ReadIndex([]byte{byte(i), 1, 2})
		case 4:
			c.nodes[id].ProposeConfChange(&raftpb.ConfChange{Type: raftpb.ConfChangeUpdateNode.Enum(),
				NodeId: &id, Context: data})
		case 5:
			// So that whoever is cut off needs a snapshot.
			s := c.storage[id]
			if last, err := s.LastIndex(); err == nil && last > 3 {
				if commit := c.nodes[id].Status().HardState.GetCommit(); commit == last {
					s.CreateSnapshot(last-1, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, data)
					s.Compact(last - 1)
				}
			}
		case 6:
			c.tick(rnd.Intn(30))
		default:
			c.nodes[id].Propose(data)
		}
		c.turn()
		c.tick(1)
	}
	t.Logf("%d messages of the types %v", len(c.seen), c.types)
	for _, want := range []raftpb.MessageType{raftpb.MsgProp, raftpb.MsgApp, raftpb.MsgAppResp,
		raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgSnap, raftpb.MsgHeartbeat,
		raftpb.MsgHeartbeatResp, raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow,
		raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp} {
		if !c.types[want] {
			t.Errorf("there was no %v", want)
		}
	}
	for i, b := range common.Reencode(t, c.seen) {
		if !bytes.Equal(b, withoutNormal(t, c.seen[i])) {
			var m raftpb.Message
			proto.Unmarshal(c.seen[i], &m)
			t.Fatalf("message %d, %v\netcd   %x\nchorad %x", i, &m, c.seen[i], b)
		}
	}
}
