// Command wal reads a WAL directory with etcd's own package and prints what is
// in it, or writes one, for comparison with chorad's wal module.
//
//	wal read DIR    one line per item, as wal_print does
//	wal write DIR   a log of 200 entries in several segments
package main

import (
	"bytes"
	"fmt"
	"os"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(dir string) {
	lg := zap.NewNop()
	snaps, err := wal.ValidSnapshotEntries(lg, dir)
	check(err)
	snap := snaps[len(snaps)-1]
	_, err = wal.Verify(lg, dir, snap)
	check(err)
	w, err := wal.Open(lg, dir, snap)
	check(err)
	metadata, state, entries, err := w.ReadAll()
	check(err)
	check(w.Close())
	var m etcdserverpb.Metadata
	check(proto.Unmarshal(metadata, &m))
	fmt.Printf("metadata %x %x\n", m.GetNodeID(), m.GetClusterID())
	fmt.Printf("state %d %x %d\n", state.GetTerm(), state.GetVote(), state.GetCommit())
	fmt.Printf("snapshot %d %d voters %x learners %x\n", snap.GetIndex(), snap.GetTerm(),
		snap.GetConfState().GetVoters(), snap.GetConfState().GetLearners())
	for _, e := range entries {
		fmt.Printf("entry %d %d %d %x\n", e.GetTerm(), e.GetIndex(), e.GetType(), e.GetData())
	}
}

func write(dir string) {
	wal.SegmentSizeBytes = 16 * 1024
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: new(uint64(0x99)), ClusterID: new(uint64(0xa1))})
	check(err)
	w, err := wal.Create(zap.NewNop(), dir, metadata)
	check(err)
	for i := uint64(1); i <= 200; i++ {
		e := &raftpb.Entry{Term: new(uint64(2)), Index: new(i), Data: bytes.Repeat([]byte{byte(i)}, int(i*5))}
		if i%50 == 0 {
			e.Data = nil
		}
		check(w.Save(&raftpb.HardState{Term: new(uint64(2)), Vote: new(uint64(0x99)), Commit: new(i)}, []*raftpb.Entry{e}))
		if i == 60 {
			check(w.SaveSnapshot(&walpb.Snapshot{Index: new(i), Term: new(uint64(2)),
				ConfState: &raftpb.ConfState{Voters: []uint64{0x99, 0x100}, Learners: []uint64{7}, AutoLeave: new(false)}}))
		}
	}
	check(w.Close())
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "read" {
		read(os.Args[2])
	} else if len(os.Args) == 3 && os.Args[1] == "write" {
		write(os.Args[2])
	} else {
		os.Exit(2)
	}
}
