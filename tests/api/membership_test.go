package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"chorad.tests/api/harness"
)

// rehearsal is one cluster that is taken through the script, and what it
// answered.
type rehearsal struct {
	t       *testing.T
	cluster *harness.Cluster
	lines   []string
	clients map[string]*clientv3.Client
	// roles are what members are called in place of their names, where it is a
	// matter of chance which one of them leads.
	roles map[string]string
}

// note keeps what was answered in a form that another cluster's answer can be
// compared with: names instead of ids and ports.
func (r *rehearsal) note(what string, message proto.Message, err error) {
	text := ""
	switch {
	case err != nil:
		s := status.Convert(err)
		text = fmt.Sprintf("%v: %s", s.Code(), s.Message())
	default:
		data, _ := json.Marshal(withoutHeader(message))
		text = string(data)
	}
	r.lines = append(r.lines, what+": "+r.anonymous(text))
}

func withoutHeader(message proto.Message) proto.Message {
	copied := proto.Clone(message)
	m := copied.ProtoReflect()
	if field := m.Descriptor().Fields().ByName("header"); field != nil {
		m.Clear(field)
	}
	return copied
}

var hexID = regexp.MustCompile(`\b[0-9a-f]{13,16}\b`)
var decimalID = regexp.MustCompile(`\b[0-9]{15,20}\b`)

func (r *rehearsal) anonymous(text string) string {
	for _, s := range r.cluster.Members {
		text = strings.ReplaceAll(text, s.PeerURL, "peer-"+r.called(s.Name))
		text = strings.ReplaceAll(text, s.ClientURL,
			"client-"+r.called(s.Name))
	}
	text = hexID.ReplaceAllString(text, "ID")
	return decimalID.ReplaceAllString(text, "ID")
}

func (r *rehearsal) called(name string) string {
	if role := r.roles[name]; role != "" {
		return role
	}
	return name
}

func (r *rehearsal) client(s *harness.Server) *clientv3.Client {
	if r.clients[s.Name] == nil {
		r.clients[s.Name] = httpClient(r.t, s)
	}
	return r.clients[s.Name]
}

func (r *rehearsal) members(s *harness.Server) pb.ClusterClient {
	return pb.NewClusterClient(r.client(s).ActiveConnection())
}

func (r *rehearsal) leader() *harness.Server { return leader(r.t, r.cluster) }
func (r *rehearsal) follower() *harness.Server {
	return follower(r.t, r.cluster)
}

// list notes the members by name; the order of ids is a matter of chance.
func (r *rehearsal) list(what string, at *harness.Server) {
	reply, err := r.members(at).MemberList(timeout(r.t),
		&pb.MemberListRequest{Linearizable: true})
	if err != nil {
		r.note(what, nil, err)
		return
	}
	if !slices.IsSortedFunc(reply.Members, func(a, b *pb.Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	}) {
		r.note(what+", unsorted", nil, nil)
	}
	for _, m := range reply.Members {
		m.Name = r.called(m.Name)
	}
	slices.SortFunc(reply.Members, func(a, b *pb.Member) int {
		return strings.Compare(a.Name+fmt.Sprint(a.PeerURLs),
			b.Name+fmt.Sprint(b.PeerURLs))
	})
	r.note(what, reply, nil)
}

func (r *rehearsal) add(what string, at *harness.Server, learner bool,
	urls ...string) uint64 {
	reply, err := r.members(at).MemberAdd(timeout(r.t),
		&pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
	if err != nil {
		r.note(what, nil, err)
		return 0
	}
	r.note(what, reply.Member, nil)
	r.note(what+", members", &pb.MemberListResponse{Members: []*pb.Member{{
		Name: fmt.Sprint(len(reply.Members))}}}, nil)
	return reply.Member.ID
}

func (r *rehearsal) remove(what string, at *harness.Server, id uint64) {
	reply, err := r.members(at).MemberRemove(timeout(r.t),
		&pb.MemberRemoveRequest{ID: id})
	if err != nil {
		r.note(what, nil, err)
		return
	}
	r.lines = append(r.lines, fmt.Sprintf("%s: %d members left", what,
		len(reply.Members)))
}

func (r *rehearsal) promote(what string, at *harness.Server, id uint64) {
	reply, err := r.members(at).MemberPromote(timeout(r.t),
		&pb.MemberPromoteRequest{ID: id})
	if err != nil {
		r.note(what, nil, err)
		return
	}
	r.lines = append(r.lines, fmt.Sprintf("%s: %d members", what,
		len(reply.Members)))
}

func (r *rehearsal) update(what string, at *harness.Server, id uint64,
	urls ...string) {
	_, err := r.members(at).MemberUpdate(timeout(r.t),
		&pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
	r.note(what, &pb.MemberUpdateResponse{}, err)
}

// together lets both clusters play the script, and says where they differ.
func together(t *testing.T, script func(r *rehearsal)) []string {
	t.Helper()
	sides := [2]*rehearsal{}
	etcd := harness.Tool(t, "etcd")
	for i, binary := range []string{"", etcd} {
		sides[i] = &rehearsal{t: t, clients: map[string]*clientv3.Client{},
			cluster: harness.NewCluster(t, harness.Options{}, binary, binary,
				binary)}
	}
	var group sync.WaitGroup
	for _, side := range sides {
		group.Go(func() {
			if err := side.cluster.Run(); err != nil {
				t.Error(err)
				return
			}
			script(side)
		})
	}
	group.Wait()
	if t.Failed() {
		for _, side := range sides {
			t.Log(strings.Join(side.lines, "\n"))
		}
		return nil
	}
	var found []string
	a, b := sides[0].lines, sides[1].lines
	for i := range max(len(a), len(b)) {
		x, y := "nothing", "nothing"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			found = append(found, fmt.Sprintf(
				"line %d:\n  %.600s\nand etcd\n  %.600s", i, x, y))
		}
	}
	t.Logf("%d answers, %d differ", len(a), len(found))
	return found
}

// TestMembership changes the members of two clusters in the same way, and
// wants the same answers.
func TestMembership(t *testing.T) {
	t.Run("bad updates", badUpdates)
	t.Run("at once", changesAtOnce)
	t.Run("right after the start", joinAfterStart)
	scripts := map[string]func(r *rehearsal){
		"changes": membershipChanges, "learners": learners,
		"unhealthy": unhealthy, "no leader": noLeader, "versions": downgrades,
	}
	// They wait most of the time, for one another as well then. Thirty
	// processes may also keep each other from leading, so a difference counts
	// if it is still there when its script is played alone.
	var group sync.WaitGroup
	var mu sync.Mutex
	var again []string
	for name, script := range scripts {
		group.Go(func() {
			t.Run(name, func(t *testing.T) {
				found := together(t, script)
				if len(found) == 0 {
					return
				}
				t.Log(strings.Join(found, "\n"))
				mu.Lock()
				again = append(again, name)
				mu.Unlock()
			})
		})
		time.Sleep(time.Second)
	}
	group.Wait()
	for _, name := range again {
		t.Run(name+" alone", func(t *testing.T) {
			for _, difference := range together(t, scripts[name]) {
				t.Error(difference)
			}
		})
	}
}

// joinAfterStart adds a second member as soon as the first one is ready. From
// then on there is no majority until it has joined, so what it wants to know of
// the cluster has to be decided before.
func joinAfterStart(t *testing.T) {
	cluster := harness.StartCluster(t, harness.Options{Args: []string{
		"--strict-reconfig-check=false"}}, harness.Chorad(t))
	client := httpClient(t, cluster.Members[0])
	second := cluster.Join(harness.Chorad(t))
	if _, err := client.MemberAdd(timeout(t), []string{second.PeerURL}); err != nil {
		t.Fatal(err)
	}
	second.Cluster = cluster.Initial()
	if err := second.Run(); err != nil {
		t.Fatalf("%v\n%s", err, second.LogTail(5))
	}
	if _, err := client.Put(timeout(t), "a", "b"); err != nil {
		t.Error(err)
	}
}

// joined starts a member that has been added, and waits for it.
func (r *rehearsal) joined(s *harness.Server) {
	if err := s.Launch(); err != nil {
		r.t.Error(err)
		return
	}
	if err := s.WaitReady(); err != nil {
		r.t.Errorf("%s: %v\n%s", s.Binary, err, s.LogTail(20))
	}
}

func (r *rehearsal) binary() string { return r.cluster.Members[0].Binary }

var badURLs = []string{"http://127.0.0.1:1/path", "127.0.0.1:1",
	"http://127.0.0.1", "ftp://127.0.0.1:1", "http://%zz:1", "",
	"http://localhost:port"}

// badUpdates are refused. All members of an etcd cluster end on one of them.
func badUpdates(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	if !s.IsChorad() {
		t.Skip("etcd does not live through that")
	}
	client := httpClient(t, s)
	id := memberID(t, s)
	members := pb.NewClusterClient(plain(t, s))
	update := func(urls ...string) {
		t.Helper()
		_, err := members.MemberUpdate(timeout(t),
			&pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
		if err == nil || err.Error() != rpctypes.ErrGRPCMemberBadURLs.Error() {
			t.Errorf("%q: %v", urls, err)
		}
	}
	update()
	for _, bad := range badURLs {
		update(bad)
		update(s.PeerURL, bad)
	}
	list, err := client.MemberList(timeout(t))
	if err != nil || !slices.Equal(list.Members[0].PeerURLs,
		[]string{s.PeerURL}) {
		t.Errorf("%v, %v", list, err)
	}
}

// changesAtOnce asks all members for changes at the same time. Raft makes them
// one after the other; none gets lost.
func changesAtOnce(t *testing.T) {
	cluster := newCluster(t)
	if !cluster.Members[0].IsChorad() {
		t.Skip("etcd's leader drops a change while it makes another")
	}
	leader(t, cluster)
	var group sync.WaitGroup
	for i, s := range cluster.Members {
		client, id := httpClient(t, s), memberID(t, s)
		other := fmt.Sprintf("http://127.0.0.1:%d", i+1)
		for n := range 4 {
			group.Go(func() {
				for range 5 {
					_, err := client.MemberUpdate(timeout(t), id,
						[]string{s.PeerURL, other + fmt.Sprint(n)})
					if err != nil {
						t.Errorf("at %s: %v", s.Name, err)
					}
				}
			})
		}
	}
	group.Wait()
	sameHashes(t, cluster)
}

func membershipChanges(r *rehearsal) {
	r.settled()
	at, leads := r.follower(), r.leader()
	first := r.cluster.Members[0]
	r.list("list", at)
	for _, bad := range badURLs {
		r.add("add "+bad, at, false, bad)
	}
	r.add("add none", at, false)
	r.add("add a known URL", at, false, first.PeerURL)
	r.add("add a known URL as learner", leads, true, first.PeerURL)
	r.update("update to another's URL", at, memberID(r.t, first),
		r.cluster.Members[1].PeerURL)
	r.update("update unknown", at, 99, "http://127.0.0.1:1")
	r.update("update nobody", at, 0, "http://127.0.0.1:1")
	r.remove("remove nobody", at, 0)
	r.promote("promote nobody", at, 0)
	r.remove("remove unknown", at, 99)
	r.promote("promote unknown", at, 99)
	r.promote("promote a voter", at, memberID(r.t, first))
	r.promote("promote a voter at the leader", leads, memberID(r.t, first))

	fourth := r.cluster.Join(r.binary())
	id := r.add("add", at, false, fourth.PeerURL)
	r.list("list with one that hasn't started", at)
	r.joined(fourth)
	r.list("list of four", fourth)
	r.update("update", leads, id, fourth.PeerURL, "http://127.0.0.1:1")
	r.list("list with two URLs", at)
	r.update("update back", at, id, fourth.PeerURL)
	_, err := r.client(fourth).Put(timeout(r.t), "fourth", "x")
	r.note("put at the fourth", &pb.PutResponse{}, err)
	r.remove("remove", at, id)
	r.gone(fourth)
	r.list("list of three", at)
	r.remove("remove again", leads, id)
	r.update("update the removed", leads, id, "http://127.0.0.1:1")
	r.promote("promote the removed", leads, id)

	// The leader is removed: it answers, and another one takes over.
	r.remove("remove the leader", at, memberID(r.t, leads))
	r.gone(leads)
	// What is asked while the others elect etcd may lose.
	if !harness.Eventually(harness.Patience(), func() bool {
		_, err := r.client(at).Put(timeout(r.t), "after", "x")
		return err == nil
	}) {
		r.t.Errorf("%s takes no write any more", at.Binary)
	}
	left, err := r.members(at).MemberList(timeout(r.t),
		&pb.MemberListRequest{Linearizable: true})
	if err != nil || len(left.Members) != 2 {
		r.t.Errorf("%v, %v", left, err)
	}
}

// decided waits until all members know the cluster's version, and have noted
// it in what they store.
func (r *rehearsal) decided() {
	for _, s := range r.cluster.Members {
		if !harness.Eventually(harness.Patience(), func() bool {
			return strings.Contains(fetch(r.t, "GET", s.ClientURL+
				"/version").Body, `"etcdcluster":"3.7.0","storage":"3.7.0"`)
		}) {
			r.t.Errorf("%s doesn't get to know the version", s.Binary)
		}
	}
}

// settled waits until all members are there and have got their names.
func (r *rehearsal) settled() {
	r.decided()
	for _, s := range r.cluster.Members {
		harness.Eventually(harness.Patience(), func() bool {
			reply, err := r.members(s).MemberList(timeout(r.t),
				&pb.MemberListRequest{Linearizable: true})
			if err != nil || len(reply.Members) != len(r.cluster.Members) {
				return false
			}
			return !slices.ContainsFunc(reply.Members,
				func(m *pb.Member) bool { return m.Name == "" })
		})
	}
	// The strict checks want everybody to be connected for a while.
	time.Sleep(5500 * time.Millisecond)
}

// gone waits for the process of a member that was removed to end by itself.
func (r *rehearsal) gone(s *harness.Server) {
	select {
	case <-s.Exited():
	case <-time.After(harness.Patience()):
		r.t.Errorf("%s still runs after it was removed\n%s", s.Binary,
			s.LogTail(10))
	}
	r.lines = append(r.lines, fmt.Sprintf("it ends: %v", s.ExitError()))
	r.cluster.Forget(s)
}

func learners(r *rehearsal) {
	r.settled()
	at, leads := r.follower(), r.leader()
	learner := r.cluster.Join(r.binary())
	id := r.add("add a learner", at, true, learner.PeerURL)
	r.list("list with a learner", at)
	r.promote("promote it before it has started", at, id)
	r.promote("promote it at the leader", leads, id)
	r.add("add a second learner", at, true, "http://127.0.0.1:1")
	if err := learner.Launch(); err != nil {
		r.t.Error(err)
	}
	harness.Eventually(harness.Patience(), func() bool {
		status, err := memberStatus(learner)
		return err == nil && status.IsLearner
	})
	r.decided()
	r.atLearner(learner, id)
	_, err := r.client(leads).MoveLeader(timeout(r.t), id)
	r.note("move the leadership to a learner", &pb.MoveLeaderResponse{}, err)
	_, err = r.client(at).MoveLeader(timeout(r.t), id)
	r.note("move it at a follower", &pb.MoveLeaderResponse{}, err)
	_, err = r.client(leads).MoveLeader(timeout(r.t), 99)
	r.note("move it to an unknown", &pb.MoveLeaderResponse{}, err)
	_, err = r.client(leads).MoveLeader(timeout(r.t), memberID(r.t, leads))
	r.note("move it to itself", &pb.MoveLeaderResponse{}, err)
	harness.Eventually(harness.Patience(), func() bool {
		status, err := memberStatus(learner)
		return err == nil && status.RaftAppliedIndex > 10
	})
	r.promote("promote it", at, id)
	r.list("list of four", at)
	_, err = r.client(learner).Put(timeout(r.t), "promoted", "x")
	r.note("put at it", &pb.PutResponse{}, err)
	r.promote("promote it again", at, id)
}

// atLearner asks a learner for everything.
func (r *rehearsal) atLearner(learner *harness.Server, id uint64) {
	client := r.client(learner)
	conn := client.ActiveConnection()
	kv, lease := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
	maintenance := pb.NewMaintenanceClient(conn)
	ask := func(what string, message proto.Message, err error) {
		r.note("at the learner: "+what, message, err)
	}
	key := []byte("k")
	got, err := kv.Range(timeout(r.t), &pb.RangeRequest{Key: key})
	ask("range", got, err)
	got, err = kv.Range(timeout(r.t), &pb.RangeRequest{Key: key,
		Serializable: true})
	ask("serializable range", got, err)
	put, err := kv.Put(timeout(r.t), &pb.PutRequest{Key: key})
	ask("put", put, err)
	deleted, err := kv.DeleteRange(timeout(r.t),
		&pb.DeleteRangeRequest{Key: key})
	ask("delete", deleted, err)
	txn, err := kv.Txn(timeout(r.t), &pb.TxnRequest{})
	ask("txn", txn, err)
	compacted, err := kv.Compact(timeout(r.t), &pb.CompactionRequest{})
	ask("compact", compacted, err)
	grant, err := lease.LeaseGrant(timeout(r.t),
		&pb.LeaseGrantRequest{ID: 7, TTL: 100})
	ask("grant", grant, err)
	revoke, err := lease.LeaseRevoke(timeout(r.t),
		&pb.LeaseRevokeRequest{ID: 7})
	ask("revoke", revoke, err)
	ttl, err := lease.LeaseTimeToLive(timeout(r.t),
		&pb.LeaseTimeToLiveRequest{ID: 7})
	ask("time to live", ttl, err)
	leases, err := lease.LeaseLeases(timeout(r.t), &pb.LeaseLeasesRequest{})
	ask("leases", leases, err)
	r.learnerStreams(client)
	members := pb.NewClusterClient(conn)
	list, err := members.MemberList(timeout(r.t), &pb.MemberListRequest{
		Linearizable: true})
	ask("list", list, err)
	list, err = members.MemberList(timeout(r.t), &pb.MemberListRequest{})
	if err == nil {
		list.Members = list.Members[:0]
	}
	ask("local list", list, err)
	added, err := members.MemberAdd(timeout(r.t), &pb.MemberAddRequest{
		PeerURLs: []string{"http://127.0.0.1:1"}})
	ask("add", added, err)
	removed, err := members.MemberRemove(timeout(r.t),
		&pb.MemberRemoveRequest{ID: 99})
	ask("remove", removed, err)
	updated, err := members.MemberUpdate(timeout(r.t),
		&pb.MemberUpdateRequest{ID: 99, PeerURLs: []string{
			"http://127.0.0.1:1"}})
	ask("update", updated, err)
	promoted, err := members.MemberPromote(timeout(r.t),
		&pb.MemberPromoteRequest{ID: id})
	if err == nil {
		ask("promote", &pb.MemberPromoteResponse{}, nil)
	} else {
		ask("promote", promoted, err)
	}
	alarms, err := maintenance.Alarm(timeout(r.t), &pb.AlarmRequest{})
	ask("alarms", alarms, err)
	raised, err := maintenance.Alarm(timeout(r.t), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
	ask("raise", raised, err)
	defragmented, err := maintenance.Defragment(timeout(r.t),
		&pb.DefragmentRequest{})
	ask("defragment", defragmented, err)
	_, err = maintenance.Hash(timeout(r.t), &pb.HashRequest{})
	ask("hash", &pb.HashResponse{}, err)
	hash, err := maintenance.HashKV(timeout(r.t), &pb.HashKVRequest{})
	ask("hash of keys", hash, err)
	moved, err := maintenance.MoveLeader(timeout(r.t),
		&pb.MoveLeaderRequest{TargetID: id})
	ask("move the leadership", moved, err)
	downgraded, err := maintenance.Downgrade(timeout(r.t),
		&pb.DowngradeRequest{Version: "3.6.0"})
	ask("downgrade", downgraded, err)
	found, err := maintenance.Status(timeout(r.t), &pb.StatusRequest{})
	if err == nil {
		found = &pb.StatusResponse{IsLearner: found.IsLearner,
			Errors: found.Errors, Version: found.Version[:4]}
	}
	ask("status", found, err)
	for _, path := range []string{"/health", "/health?serializable=true",
		"/livez?verbose", "/readyz?verbose", "/version"} {
		p := fetch(r.t, "GET", learner.ClientURL+path)
		r.lines = append(r.lines, fmt.Sprintf("%s: %d %s", path, p.Status,
			versionLess(sortedLines(p.Body))))
	}
}

var etcdVersion = regexp.MustCompile(`"etcdserver":"[^"]*"`)

func versionLess(text string) string {
	return etcdVersion.ReplaceAllString(text, `"etcdserver":""`)
}

func (r *rehearsal) learnerStreams(client *clientv3.Client) {
	conn := client.ActiveConnection()
	kept, err := pb.NewLeaseClient(conn).LeaseKeepAlive(timeout(r.t))
	if err == nil {
		_ = kept.Send(&pb.LeaseKeepAliveRequest{ID: 7})
		_, err = kept.Recv()
	}
	r.note("at the learner: keep alive", &pb.LeaseKeepAliveResponse{}, err)
	watch, err := pb.NewWatchClient(conn).Watch(timeout(r.t))
	if err == nil {
		_ = watch.Send(&pb.WatchRequest{
			RequestUnion: &pb.WatchRequest_CreateRequest{
				CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}})
		_, err = watch.Recv()
	}
	r.note("at the learner: watch", &pb.WatchResponse{}, err)
	saved, err := pb.NewMaintenanceClient(conn).Snapshot(timeout(r.t),
		&pb.SnapshotRequest{})
	if err == nil {
		_, err = saved.Recv()
	}
	r.note("at the learner: snapshot", &pb.SnapshotResponse{}, err)
}

// unhealthy asks for changes while a member is away.
func unhealthy(r *rehearsal) {
	r.settled()
	leads := r.leader()
	followers := r.cluster.Others(leads)
	at, away := followers[0], followers[1]
	r.roles = map[string]string{leads.Name: "leader", at.Name: "asked",
		away.Name: "away"}
	id := memberID(r.t, away)
	away.Kill()
	time.Sleep(1500 * time.Millisecond)
	r.add("add a voter", at, false, "http://127.0.0.1:1")
	r.add("add a voter at the leader", r.leader(), false,
		"http://127.0.0.1:1")
	r.remove("remove one that is there", at, memberID(r.t, at))
	learner := r.add("add a learner", at, true, "http://127.0.0.1:1")
	r.promote("promote it", at, learner)
	r.remove("remove it", at, learner)
	r.update("update the one away", at, id, "http://127.0.0.1:2")
	r.remove("remove the one away", at, id)
	r.list("list of two", at)
	// Members that have never started count.
	r.add("add a third", at, false, "http://127.0.0.1:3")
	r.add("add a fourth", at, false, "http://127.0.0.1:4")
	r.list("at the end", at)
}

// noLeader asks the last one of three.
func noLeader(r *rehearsal) {
	r.decided()
	last := r.follower()
	client := r.client(last)
	_, err := client.Put(timeout(r.t), "k", "v")
	r.note("put", &pb.PutResponse{}, err)
	strict := metadata.AppendToOutgoingContext(context.Background(),
		"hasleader", "true")
	conn := client.ActiveConnection()
	watch, err := pb.NewWatchClient(conn).Watch(strict)
	if err != nil {
		r.t.Error(err)
		return
	}
	_ = watch.Send(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}})
	if _, err := watch.Recv(); err != nil {
		r.t.Error(err)
	}
	kept, err := pb.NewLeaseClient(conn).LeaseKeepAlive(strict)
	if err != nil {
		r.t.Error(err)
		return
	}
	patient, err := pb.NewWatchClient(conn).Watch(timeout(r.t))
	if err != nil {
		r.t.Error(err)
		return
	}
	for _, s := range r.cluster.Others(last) {
		s.Kill()
	}
	_, err = watch.Recv()
	r.note("a watch that wants a leader", &pb.WatchResponse{}, err)
	_, err = kept.Recv()
	r.note("a keep alive that wants one", &pb.LeaseKeepAliveResponse{}, err)
	_ = patient.Send(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}})
	_, err = patient.Recv()
	r.note("a watch that does not", &pb.WatchResponse{}, err)
	again, err := pb.NewWatchClient(conn).Watch(strict)
	if err == nil {
		_, err = again.Recv()
	}
	r.note("a new watch that wants one", &pb.WatchResponse{}, err)
	r.alone(last)
}

// plain is a connection on which nothing is tried again.
func plain(t *testing.T, s *harness.Server) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.Endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// alone asks a member without a leader for all sorts of things, at once since
// most of them wait for one until their time is up.
func (r *rehearsal) alone(last *harness.Server) {
	conn := plain(r.t, last)
	kv, lease := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
	members := pb.NewClusterClient(conn)
	maintenance := pb.NewMaintenanceClient(conn)
	key := []byte("k")
	strict := metadata.AppendToOutgoingContext(context.Background(),
		"hasleader", "true")
	asked := map[string]func(ctx context.Context) (proto.Message, error){
		"put": func(ctx context.Context) (proto.Message, error) {
			return kv.Put(ctx, &pb.PutRequest{Key: key})
		},
		"put that wants a leader": func(context.Context) (proto.Message,
			error) {
			return kv.Put(strict, &pb.PutRequest{Key: key})
		},
		"range": func(ctx context.Context) (proto.Message, error) {
			return kv.Range(ctx, &pb.RangeRequest{Key: key})
		},
		"range that wants a leader": func(context.Context) (proto.Message,
			error) {
			return kv.Range(strict, &pb.RangeRequest{Key: key,
				Serializable: true})
		},
		"serializable range": func(ctx context.Context) (proto.Message,
			error) {
			return kv.Range(ctx, &pb.RangeRequest{Key: key,
				Serializable: true})
		},
		"txn that reads": func(ctx context.Context) (proto.Message, error) {
			return kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{
				Request: &pb.RequestOp_RequestRange{
					RequestRange: &pb.RangeRequest{Key: key}}}}})
		},
		"grant": func(ctx context.Context) (proto.Message, error) {
			return lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 100})
		},
		"time to live": func(ctx context.Context) (proto.Message, error) {
			return lease.LeaseTimeToLive(ctx,
				&pb.LeaseTimeToLiveRequest{ID: 7})
		},
		"leases": func(ctx context.Context) (proto.Message, error) {
			return lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		},
		"keep alive": func(ctx context.Context) (proto.Message, error) {
			stream, err := lease.LeaseKeepAlive(ctx)
			if err != nil {
				return nil, err
			}
			_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: 7})
			return stream.Recv()
		},
		"list": func(ctx context.Context) (proto.Message, error) {
			return members.MemberList(ctx, &pb.MemberListRequest{
				Linearizable: true})
		},
		"local list": func(ctx context.Context) (proto.Message, error) {
			reply, err := members.MemberList(ctx, &pb.MemberListRequest{})
			if err == nil {
				reply.Members = nil
			}
			return reply, err
		},
		"add": func(ctx context.Context) (proto.Message, error) {
			return members.MemberAdd(ctx, &pb.MemberAddRequest{
				PeerURLs: []string{"http://127.0.0.1:1"}})
		},
		"remove": func(ctx context.Context) (proto.Message, error) {
			return members.MemberRemove(ctx, &pb.MemberRemoveRequest{
				ID: memberID(r.t, last)})
		},
		"update": func(ctx context.Context) (proto.Message, error) {
			return members.MemberUpdate(ctx, &pb.MemberUpdateRequest{
				ID:       memberID(r.t, last),
				PeerURLs: []string{"http://127.0.0.1:1"}})
		},
		"promote": func(ctx context.Context) (proto.Message, error) {
			return members.MemberPromote(ctx, &pb.MemberPromoteRequest{
				ID: memberID(r.t, last)})
		},
		"move the leadership": func(ctx context.Context) (proto.Message,
			error) {
			return maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{
				TargetID: memberID(r.t, last)})
		},
		"downgrade": func(ctx context.Context) (proto.Message, error) {
			return maintenance.Downgrade(ctx, &pb.DowngradeRequest{
				Version: "3.6.0"})
		},
		"alarm list": func(ctx context.Context) (proto.Message, error) {
			return maintenance.Alarm(ctx, &pb.AlarmRequest{})
		},
		"status": func(ctx context.Context) (proto.Message, error) {
			reply, err := maintenance.Status(ctx, &pb.StatusRequest{})
			if err != nil {
				return nil, err
			}
			return &pb.StatusResponse{Leader: reply.Leader,
				Errors: reply.Errors}, nil
		},
		"hash of keys": func(ctx context.Context) (proto.Message, error) {
			return maintenance.HashKV(ctx, &pb.HashKVRequest{})
		},
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]string{}
	for what, ask := range asked {
		group.Go(func() {
			// etcd's update waits for the client's deadline, however late.
			limit := 30 * time.Second
			if what == "update" {
				limit = 10 * time.Second
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			begin := time.Now()
			reply, err := ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			// The end of the deadline may come as a reset stream, too.
			if what == "update" && ctx.Err() != nil {
				err = status.FromContextError(ctx.Err()).Err()
			}
			r.note("alone: "+what, reply, err)
			answers[what] = r.lines[len(r.lines)-1]
			r.lines = r.lines[:len(r.lines)-1]
			// In etcd a read may wait for another one's time to be up.
			if took := time.Since(begin); took > 9*time.Second &&
				last.IsChorad() {
				r.t.Errorf("%s took %v", answers[what], took)
			}
		})
	}
	for _, path := range []string{"/health", "/health?serializable=true",
		"/livez", "/readyz?exclude=linearizable_read", "/readyz/serializable_read"} {
		group.Go(func() {
			p := fetch(r.t, "GET", last.ClientURL+path)
			mu.Lock()
			defer mu.Unlock()
			answers[path] = fmt.Sprintf("%s: %d %s", path, p.Status,
				sortedLines(p.Body))
		})
	}
	group.Wait()
	for _, what := range slices.Sorted(maps.Keys(answers)) {
		r.lines = append(r.lines, answers[what])
	}
}

// downgrades asks for older and newer versions.
func downgrades(r *rehearsal) {
	r.settled()
	at, leads := r.follower(), r.leader()
	ask := func(what string, at *harness.Server,
		action pb.DowngradeRequest_DowngradeAction, version string) {
		reply, err := pb.NewMaintenanceClient(
			r.client(at).ActiveConnection()).Downgrade(timeout(r.t),
			&pb.DowngradeRequest{Action: action, Version: version})
		r.note(fmt.Sprintf("%s %v %s", what, action, version), reply, err)
	}
	info := func(what string) {
		for _, s := range r.cluster.Members {
			found, err := memberStatus(s)
			if err != nil {
				r.t.Error(err)
				return
			}
			r.note(what+", status", &pb.StatusResponse{
				StorageVersion: found.StorageVersion,
				DowngradeInfo:  found.DowngradeInfo}, nil)
		}
		for _, s := range r.cluster.Members {
			p := fetch(r.t, "GET", s.PeerURL+"/downgrade/enabled")
			r.lines = append(r.lines, what+": "+p.Body)
		}
	}
	validate, enable, cancel := pb.DowngradeRequest_VALIDATE,
		pb.DowngradeRequest_ENABLE, pb.DowngradeRequest_CANCEL
	r.settled()
	info("before")
	for _, version := range []string{"", "3", "x", "3.5.0", "3.6", "3.6.0",
		"3.6.5", "3.7.0", "3.8.0", "2.3.0", "3.6.0-rc.0", "v3.6.0", "4.0.0"} {
		ask("at a follower", at, validate, version)
		ask("at the leader", leads, validate, version)
	}
	ask("nothing to", at, cancel, "")
	ask("unknown action", at, 17, "3.6.0")
	ask("too far", at, enable, "3.5.0")
	ask("at a follower", at, enable, "3.6.0")
	ask("again", leads, enable, "3.6.0")
	ask("again", leads, validate, "3.6.0")
	harness.Eventually(harness.Patience(), func() bool {
		found, err := memberStatus(at)
		return err == nil && found.DowngradeInfo.GetEnabled() &&
			strings.HasPrefix(found.StorageVersion, "3.6")
	})
	time.Sleep(time.Second)
	info("enabled")
	ask("at a follower", at, cancel, "")
	time.Sleep(5 * time.Second)
	info("cancelled")
}
