// Package etcd37 has etcd 3.7's rafthttp as the other side.
package etcd37

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"chorad.tests/interop/peer/common"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	httptypes "go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

func toPB(m common.Message) *raftpb.Message {
	pb := &raftpb.Message{
		Type: raftpb.MessageType(m.Type).Enum(), To: &m.To, From: &m.From, Term: &m.Term,
		LogTerm: &m.LogTerm, Index: &m.Index, Commit: &m.Commit, RejectHint: &m.RejectHint,
		Reject: &m.Reject, Context: m.Context,
	}
	for _, e := range m.Entries {
		pb.Entries = append(pb.Entries, &raftpb.Entry{Term: new(e.Term), Index: new(e.Index),
			Type: raftpb.EntryType(e.Type).Enum(), Data: e.Data})
	}
	return pb
}

func fromPB(pb *raftpb.Message) common.Message {
	m := common.Message{
		Type: uint64(pb.GetType()), To: pb.GetTo(), From: pb.GetFrom(), Term: pb.GetTerm(),
		LogTerm: pb.GetLogTerm(), Index: pb.GetIndex(), Commit: pb.GetCommit(),
		RejectHint: pb.GetRejectHint(), Reject: pb.GetReject(), Context: pb.GetContext(),
	}
	for _, e := range pb.GetEntries() {
		m.Entries = append(m.Entries, common.Entry{Term: e.GetTerm(), Index: e.GetIndex(),
			Type: uint64(e.GetType()), Data: e.GetData()})
	}
	return m
}

// member is what etcd's transport needs of the server around it.
type member struct {
	id          uint64
	t           *rafthttp.Transport
	server      *http.Server
	url, snap   string
	received    chan common.Message
	unreachable chan uint64
	snapshots   chan bool
	errc        chan error
	stop        sync.Once

	mu      sync.Mutex
	removed map[uint64]bool
}

func start(t *testing.T, c common.Config) common.Etcd {
	t.Helper()
	m := &member{id: c.ID, snap: t.TempDir(), received: make(chan common.Message, 100000),
		unreachable: make(chan uint64, 100000), snapshots: make(chan bool, 10),
		errc: make(chan error, 1), removed: map[uint64]bool{}}
	l, err := rafthttp.NewListener(url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", c.Port)},
		&transport.TLSInfo{})
	if err != nil {
		t.Fatal(err)
	}
	m.url = "http://" + l.Addr().String()
	m.t = &rafthttp.Transport{
		Logger: zap.NewNop(), DialTimeout: 2 * time.Second, ID: types.ID(c.ID),
		URLs: types.MustNewURLs([]string{m.url}), ClusterID: types.ID(c.Cluster), Raft: m,
		Snapshotter: snap.New(zap.NewNop(), m.snap), ServerStats: stats.NewServerStats("", ""),
		LeaderStats: stats.NewLeaderStats(nil, "1"), ErrorC: m.errc,
	}
	if err = m.t.Start(); err != nil {
		t.Fatal(err)
	}
	// Its handler panics to end a connection.
	m.server = &http.Server{Handler: m.t.Handler(), ErrorLog: log.New(io.Discard, "", 0)}
	go m.server.Serve(l)
	return m
}

func (m *member) Process(_ context.Context, pb *raftpb.Message) error {
	// As EtcdServer.Process has it.
	if m.IsIDRemoved(pb.GetFrom()) {
		return httptypes.NewHTTPError(http.StatusForbidden, "cannot process message from removed member")
	}
	if pb.GetTo() != m.id {
		return httptypes.NewHTTPError(http.StatusForbidden, "cannot process message to mismatch member")
	}
	m.received <- fromPB(pb)
	return nil
}

func (m *member) IsIDRemoved(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed[id]
}

func (m *member) ReportUnreachable(id uint64) { m.unreachable <- id }

func (m *member) ReportSnapshot(_ uint64, status raft.SnapshotStatus) {
	m.snapshots <- status == raft.SnapshotFinish
}

func (m *member) URL() string                     { return m.url }
func (m *member) AddPeer(id uint64, url string)   { m.t.AddPeer(types.ID(id), []string{url}) }
func (m *member) RemovePeer(id uint64)            { m.t.RemovePeer(types.ID(id)) }
func (m *member) Send(msg common.Message)         { m.t.Send([]*raftpb.Message{toPB(msg)}) }
func (m *member) Received() <-chan common.Message { return m.received }
func (m *member) Unreachable() <-chan uint64      { return m.unreachable }
func (m *member) Removed() <-chan error           { return m.errc }
func (m *member) Active(id uint64) bool           { return !m.t.ActiveSince(types.ID(id)).IsZero() }
func (m *member) SnapDir() string                 { return m.snap }

func (m *member) SetRemoved(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removed[id] = true
}

func (m *member) SendSnapshot(to, index, term uint64, image []byte) bool {
	pb := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: &to, From: &m.id, Term: &term,
		Snapshot: &raftpb.Snapshot{Data: []byte("membership"), Metadata: &raftpb.SnapshotMetadata{
			Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}},
		}}}
	m.t.SendSnapshot(snap.NewMessage(pb, io.NopCloser(bytes.NewReader(image)), int64(len(image))))
	select {
	case ok := <-m.snapshots:
		return ok
	case <-time.After(20 * time.Second):
		return false
	}
}

func (m *member) Stop() {
	m.stop.Do(func() {
		m.server.Close()
		m.t.Stop()
	})
}

func TestPeer(t *testing.T) { common.Run(t, start) }
