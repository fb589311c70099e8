package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"chorad.tests/api/harness"
)

var visited = &pb.RangeRequest{Key: []byte("visit/"),
	RangeEnd: []byte("visit0")}

func visitKey(name string) []byte { return []byte("visit/" + name) }

// seen notes what another member has under the visit's keys.
func (v *visit) seen(what string) {
	v.t.Helper()
	got, err := pb.NewKVClient(v.there).Range(timeout(v.t), visited)
	if err != nil {
		v.note(what+", seen", nil, err)
		return
	}
	got.Header = nil
	for _, kv := range got.Kvs {
		v.note(what+", seen", kv, nil)
	}
}

func (v *visit) keys() {
	kv := pb.NewKVClient(v.conn)
	for i, r := range []*pb.PutRequest{
		{Key: visitKey("a"), Value: []byte("1")},
		{Key: visitKey("b"), Value: []byte("2")},
		{Key: visitKey("a"), Value: []byte("3"), PrevKv: true},
		{Key: visitKey("a"), IgnoreValue: true},
		{Key: visitKey("a"), IgnoreLease: true, Value: []byte("4")},
		{Key: visitKey("c"), IgnoreValue: true},
		{Key: visitKey("c"), Lease: 404},
		{Value: []byte("no key")},
	} {
		put, err := kv.Put(timeout(v.t), r)
		v.note(fmt.Sprint("put ", i), put, err)
	}
	v.seen("puts")
	from := v.base["revision"]
	for i, r := range []*pb.RangeRequest{
		visited,
		{Key: visitKey("a"), Serializable: true},
		{Key: visitKey("a"), Revision: from + 1},
		{Key: visitKey("a"), Revision: from + 1000},
		{Key: visited.Key, RangeEnd: visited.RangeEnd, Limit: 1},
		{Key: visited.Key, RangeEnd: visited.RangeEnd, CountOnly: true},
		{Key: visited.Key, RangeEnd: visited.RangeEnd, KeysOnly: true,
			SortTarget: pb.RangeRequest_MOD,
			SortOrder:  pb.RangeRequest_DESCEND},
		{Key: visited.Key, RangeEnd: visited.RangeEnd,
			MinModRevision: from + 3},
		{},
	} {
		got, err := kv.Range(timeout(v.t), r)
		v.note(fmt.Sprint("range ", i), got, err)
	}
	v.rangeStream()
	for i, r := range v.txns() {
		got, err := kv.Txn(timeout(v.t), r)
		v.note(fmt.Sprint("txn ", i), got, err)
	}
	v.seen("txns")
	compacted, err := kv.Compact(timeout(v.t),
		&pb.CompactionRequest{Revision: from + 3, Physical: true})
	v.note("compact", compacted, err)
	compacted, err = kv.Compact(timeout(v.t),
		&pb.CompactionRequest{Revision: from + 2})
	v.note("compact again", compacted, err)
	got, err := kv.Range(timeout(v.t), &pb.RangeRequest{Key: visitKey("a"),
		Revision: from + 1})
	v.note("range behind the compaction", got, err)
	deleted, err := kv.DeleteRange(timeout(v.t), &pb.DeleteRangeRequest{
		Key: visited.Key, RangeEnd: visited.RangeEnd, PrevKv: true})
	v.note("delete", deleted, err)
	v.seen("delete")
}

func visitPut(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: visitKey(key), Value: []byte(value),
			PrevKv: true}}}
}

func (v *visit) txns() []*pb.TxnRequest {
	a := func(value string) []*pb.Compare {
		return []*pb.Compare{{Key: visitKey("a"), Target: pb.Compare_VALUE,
			TargetUnion: &pb.Compare_Value{Value: []byte(value)}}}
	}
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
		RequestRange: visited}}
	return []*pb.TxnRequest{
		{Compare: a("4"), Success: []*pb.RequestOp{visitPut("a", "5"), read,
			visitPut("d", "6")}},
		{Compare: a("4"), Success: []*pb.RequestOp{visitPut("a", "7")},
			Failure: []*pb.RequestOp{visitPut("e", "8"),
				{Request: &pb.RequestOp_RequestDeleteRange{
					RequestDeleteRange: &pb.DeleteRangeRequest{
						Key: visitKey("b"), PrevKv: true}}}}},
		{Compare: a("5"), Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
				Compare: a("x"), Failure: []*pb.RequestOp{read}}}}}},
		{Success: []*pb.RequestOp{visitPut("a", "9"), visitPut("a", "10")}},
		{Success: []*pb.RequestOp{read}},
	}
}

// rangeStream is there from 3.7 on, so that it isn't compared with older ones.
func (v *visit) rangeStream() {
	stream, err := pb.NewKVClient(v.conn).RangeStream(timeout(v.t), visited)
	if err != nil {
		v.t.Error(err)
		return
	}
	n := 0
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if status.Code(err) == codes.Unimplemented && !v.at.IsChorad() {
			return
		}
		if err != nil {
			v.t.Errorf("%s streams a range: %v", kind(v.at), err)
			return
		}
		n += len(part.RangeResponse.Kvs)
	}
	if n != 2 {
		v.t.Errorf("%s streams %d keys instead of 2", kind(v.at), n)
	}
}

// watches sees at the member what is written at another one.
func (v *visit) watches() {
	stream, err := pb.NewWatchClient(v.conn).Watch(timeout(v.t))
	if err != nil {
		v.t.Error(err)
		return
	}
	next := func(what string) {
		got, err := stream.Recv()
		v.note(what, got, err)
	}
	create := func(r *pb.WatchCreateRequest) {
		r.Key, r.RangeEnd = visited.Key, visited.RangeEnd
		_ = stream.Send(&pb.WatchRequest{
			RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
	}
	create(&pb.WatchCreateRequest{WatchId: 1, PrevKv: true})
	next("watch")
	kv := pb.NewKVClient(v.there)
	for _, value := range []string{"1", "2"} {
		_, err = kv.Put(timeout(v.t), &pb.PutRequest{Key: visitKey("w"),
			Value: []byte(value)})
		if err != nil {
			v.t.Error(err)
		}
		next("put " + value + " watched")
	}
	_, err = kv.DeleteRange(timeout(v.t),
		&pb.DeleteRangeRequest{Key: visitKey("w")})
	if err != nil {
		v.t.Error(err)
	}
	next("delete watched")
	_ = stream.Send(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_ProgressRequest{}})
	next("progress")
	_ = stream.Send(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_CancelRequest{
			CancelRequest: &pb.WatchCancelRequest{WatchId: 1}}})
	next("cancel")
	create(&pb.WatchCreateRequest{WatchId: 2,
		StartRevision: v.base["revision"] + 1})
	next("watch what is compacted")
	next("watch what is compacted, its end")
}

func (v *visit) leases() {
	lease, there := pb.NewLeaseClient(v.conn), pb.NewLeaseClient(v.there)
	const id = 77
	granted, err := lease.LeaseGrant(timeout(v.t),
		&pb.LeaseGrantRequest{ID: id, TTL: 600})
	v.note("grant", granted, err)
	_, err = there.LeaseGrant(timeout(v.t),
		&pb.LeaseGrantRequest{ID: id, TTL: 600})
	v.note("grant twice", nil, err)
	put, err := pb.NewKVClient(v.there).Put(timeout(v.t),
		&pb.PutRequest{Key: visitKey("l"), Lease: id})
	if err != nil {
		v.t.Errorf("%v, %v", put, err)
	}
	_ = v.revision()
	left := func(what string) {
		got, err := lease.LeaseTimeToLive(timeout(v.t),
			&pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
		if err == nil && got.TTL > 590 {
			got.TTL = 600
		}
		v.note(what, got, err)
	}
	left("time to live")
	kept, err := lease.LeaseKeepAlive(timeout(v.t))
	if err != nil {
		v.t.Error(err)
		return
	}
	keep := func(what string) {
		_ = kept.Send(&pb.LeaseKeepAliveRequest{ID: id})
		got, err := kept.Recv()
		v.note(what, got, err)
	}
	keep("keep alive")
	all, err := lease.LeaseLeases(timeout(v.t), &pb.LeaseLeasesRequest{})
	if err != nil || !slices.ContainsFunc(all.Leases,
		func(l *pb.LeaseStatus) bool { return l.ID == id }) {
		v.t.Errorf("the leases of %s: %v, %v", kind(v.at), all, err)
	}
	revoked, err := lease.LeaseRevoke(timeout(v.t),
		&pb.LeaseRevokeRequest{ID: id})
	v.note("revoke", revoked, err)
	v.seen("revoke")
	revoked, err = lease.LeaseRevoke(timeout(v.t),
		&pb.LeaseRevokeRequest{ID: id})
	v.note("revoke again", revoked, err)
	left("time to live of the revoked")
	keep("keep the revoked alive")
}

func (v *visit) members() {
	members := pb.NewClusterClient(v.conn)
	for _, linearizable := range []bool{true, false} {
		got, err := members.MemberList(timeout(v.t),
			&pb.MemberListRequest{Linearizable: linearizable})
		if err != nil || len(got.Members) != len(v.cluster.Members) {
			v.t.Errorf("members of %s: %v, %v", kind(v.at), got, err)
			continue
		}
		v.checkHeader("members", got.Header)
		for _, m := range got.Members {
			v.say("member %x: %q %q %q learner %v", m.ID, m.Name, m.PeerURLs,
				m.ClientURLs, m.IsLearner)
		}
	}
	updated, err := members.MemberUpdate(timeout(v.t),
		&pb.MemberUpdateRequest{ID: v.self.MemberId,
			PeerURLs: []string{v.at.PeerURL}})
	if err != nil || len(updated.Members) != len(v.cluster.Members) {
		v.t.Errorf("%s updates itself: %v, %v", kind(v.at), updated, err)
	}
	v.connected()
	for _, learner := range []bool{true, false} {
		added, err := members.MemberAdd(timeout(v.t), &pb.MemberAddRequest{
			PeerURLs: []string{v.at.PeerURL}, IsLearner: learner})
		v.note("add a known URL", added, err)
	}
	removed, err := members.MemberRemove(timeout(v.t),
		&pb.MemberRemoveRequest{ID: 99})
	v.note("remove an unknown", removed, err)
	promoted, err := members.MemberPromote(timeout(v.t),
		&pb.MemberPromoteRequest{ID: 99})
	v.note("promote an unknown", promoted, err)
	promoted, err = members.MemberPromote(timeout(v.t),
		&pb.MemberPromoteRequest{ID: v.self.MemberId})
	v.note("promote a voter", promoted, err)
}

// connected waits until the member has had the others for a while: before,
// it lets nobody in.
func (v *visit) connected() {
	harness.Eventually(harness.Patience(), func() bool {
		_, err := pb.NewClusterClient(v.conn).MemberAdd(timeout(v.t),
			&pb.MemberAddRequest{PeerURLs: []string{v.at.PeerURL}})
		return status.Code(err) != codes.Unavailable
	})
}

// alarms forbids writes for a while.
func (v *visit) alarms() {
	maintenance := pb.NewMaintenanceClient(v.conn)
	there := pb.NewMaintenanceClient(v.there)
	act := func(what string, c pb.MaintenanceClient,
		action pb.AlarmRequest_AlarmAction) {
		got, err := c.Alarm(timeout(v.t), &pb.AlarmRequest{Action: action,
			MemberID: 7, Alarm: pb.AlarmType_NOSPACE})
		if err == nil {
			got.Header = nil
			v.say("%s: %v", what, got.Alarms)
		} else {
			v.note(what, got, err)
		}
	}
	act("raise", maintenance, pb.AlarmRequest_ACTIVATE)
	for _, conn := range []pb.KVClient{pb.NewKVClient(v.conn),
		pb.NewKVClient(v.there)} {
		put, err := conn.Put(timeout(v.t), &pb.PutRequest{Key: visitKey("x")})
		v.note("put without room", put, err)
	}
	act("alarms", there, pb.AlarmRequest_GET)
	act("lower", there, pb.AlarmRequest_DEACTIVATE)
	_, _ = pb.NewKVClient(v.conn).Range(timeout(v.t), visited)
	act("alarms", maintenance, pb.AlarmRequest_GET)
}

func (v *visit) maintenance() {
	c := pb.NewMaintenanceClient(v.conn)
	found, err := c.Status(timeout(v.t), &pb.StatusRequest{})
	if err != nil || found.Leader != memberID(v.t, leader(v.t, v.cluster)) ||
		found.DbSize <= 0 || found.DbSizeInUse <= 0 ||
		found.RaftAppliedIndex == 0 {
		v.t.Errorf("status of %s: %v, %v", kind(v.at), found, err)
	}
	v.say("status: storage %s, learner %v, errors %v", found.GetStorageVersion(),
		found.GetIsLearner(), found.GetErrors())
	defragmented, err := c.Defragment(timeout(v.t), &pb.DefragmentRequest{})
	v.note("defragment", defragmented, err)
	hash, err := c.Hash(timeout(v.t), &pb.HashRequest{})
	if err != nil || hash.Hash == 0 {
		v.t.Errorf("hash of %s: %v, %v", kind(v.at), hash, err)
	}
	for _, ago := range []int64{0, 1, 3} {
		request := &pb.HashKVRequest{Revision: v.revision() - ago}
		a, err := c.HashKV(timeout(v.t), request)
		if err != nil {
			v.t.Errorf("hash of keys at %s: %v", kind(v.at), err)
			continue
		}
		b, err := pb.NewMaintenanceClient(v.there).HashKV(timeout(v.t),
			request)
		if err != nil || a.Hash != b.Hash || a.HashRevision != b.HashRevision ||
			a.CompactRevision != b.CompactRevision {
			v.t.Errorf("hash of keys: %v at %s, %v at %s, %v", a, kind(v.at),
				b, kind(v.other), err)
		}
	}
	future, err := c.HashKV(timeout(v.t),
		&pb.HashKVRequest{Revision: v.revision() + 1000})
	v.note("hash of keys to come", future, err)
	moved, err := c.MoveLeader(timeout(v.t), &pb.MoveLeaderRequest{TargetID: 9})
	if err == nil {
		v.t.Errorf("%s moves the leadership to nobody: %v", kind(v.at), moved)
	}
	for _, version := range []string{"", "3.4.0", "3.7.0"} {
		got, err := c.Downgrade(timeout(v.t), &pb.DowngradeRequest{
			Action: pb.DowngradeRequest_VALIDATE, Version: version})
		v.note("downgrade to "+version, got, err)
	}
	v.snapshot()
	health, err := healthpb.NewHealthClient(v.conn).Check(timeout(v.t),
		&healthpb.HealthCheckRequest{})
	v.note("health", health, err)
}

// revision is that of now, which the other member has as well then.
func (v *visit) revision() int64 {
	revision := int64(0)
	for _, c := range []pb.KVClient{pb.NewKVClient(v.there),
		pb.NewKVClient(v.conn)} {
		got, err := c.Range(timeout(v.t), visited)
		if err != nil {
			v.t.Errorf("%s: %v", kind(v.at), err)
			return 0
		}
		revision = got.Header.Revision
	}
	return revision
}

func (v *visit) snapshot() {
	stream, err := pb.NewMaintenanceClient(v.conn).Snapshot(timeout(v.t),
		&pb.SnapshotRequest{})
	var file []byte
	for err == nil {
		var part *pb.SnapshotResponse
		if part, err = stream.Recv(); err == nil {
			file = append(file, part.Blob...)
		}
	}
	if !errors.Is(err, io.EOF) || len(file) <= sha256.Size {
		v.t.Errorf("%s gives a snapshot of %d bytes: %v", kind(v.at),
			len(file), err)
		return
	}
	body, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		v.t.Errorf("the snapshot of %s has a wrong sum", kind(v.at))
	}
}

func (v *visit) locks() {
	lock := v3lockpb.NewLockClient(v.conn)
	election := v3electionpb.NewElectionClient(v.conn)
	const id = 78
	_, err := pb.NewLeaseClient(v.there).LeaseGrant(timeout(v.t),
		&pb.LeaseGrantRequest{ID: id, TTL: 600})
	if err != nil {
		v.t.Error(err)
	}
	name := []byte("visit/lock")
	locked, err := lock.Lock(timeout(v.t),
		&v3lockpb.LockRequest{Name: name, Lease: id})
	v.note("lock", locked, err)
	v.seen("lock")
	_, err = v3lockpb.NewLockClient(v.there).Lock(timeout(v.t),
		&v3lockpb.LockRequest{Name: name, Lease: 79})
	v.note("lock without a lease", nil, err)
	unlocked, err := lock.Unlock(timeout(v.t),
		&v3lockpb.UnlockRequest{Key: locked.GetKey()})
	v.note("unlock", unlocked, err)
	elected, err := election.Campaign(timeout(v.t),
		&v3electionpb.CampaignRequest{Name: name, Lease: id,
			Value: []byte("1")})
	v.note("campaign", elected, err)
	observed, err := election.Observe(timeout(v.t),
		&v3electionpb.LeaderRequest{Name: name})
	if err == nil {
		first, err := observed.Recv()
		v.note("observe", first, err)
	}
	// etcd's observer now and then misses what comes while it begins.
	time.Sleep(100 * time.Millisecond)
	proclaimed, err := v3electionpb.NewElectionClient(v.there).Proclaim(
		timeout(v.t), &v3electionpb.ProclaimRequest{Leader: elected.GetLeader(),
			Value: []byte("2")})
	if err != nil {
		v.t.Errorf("%v, %v", proclaimed, err)
	}
	if observed != nil {
		second, err := observed.Recv()
		v.note("observe the proclaimed", second, err)
	}
	leads, err := election.Leader(timeout(v.t),
		&v3electionpb.LeaderRequest{Name: name})
	v.note("leader", leads, err)
	resigned, err := election.Resign(timeout(v.t),
		&v3electionpb.ResignRequest{Leader: elected.GetLeader()})
	v.note("resign", resigned, err)
	leads, err = election.Leader(timeout(v.t),
		&v3electionpb.LeaderRequest{Name: name})
	v.note("no leader", leads, err)
	_, err = pb.NewLeaseClient(v.conn).LeaseRevoke(timeout(v.t),
		&pb.LeaseRevokeRequest{ID: id})
	if err != nil {
		v.t.Error(err)
	}
}

// auth has users and roles for a while; the token that the member gives out
// is good at the other one.
func (v *visit) auth() {
	auth, there := pb.NewAuthClient(v.conn), pb.NewAuthClient(v.there)
	note := v.note
	must := func(_ any, err error) {
		v.t.Helper()
		if err != nil {
			v.t.Errorf("%s: %v", kind(v.at), err)
		}
	}
	for _, name := range []string{"root", "u"} {
		added, err := auth.UserAdd(timeout(v.t), &pb.AuthUserAddRequest{
			Name: name, Password: "secret"})
		note("add user", added, err)
		role, err := auth.RoleAdd(timeout(v.t),
			&pb.AuthRoleAddRequest{Name: name})
		note("add role", role, err)
		granted, err := auth.UserGrantRole(timeout(v.t),
			&pb.AuthUserGrantRoleRequest{User: name, Role: name})
		note("grant role", granted, err)
	}
	added, err := there.UserAdd(timeout(v.t), &pb.AuthUserAddRequest{
		Name: "u", Password: "secret"})
	note("add user twice", added, err)
	permitted, err := auth.RoleGrantPermission(timeout(v.t),
		&pb.AuthRoleGrantPermissionRequest{Name: "u", Perm: visitPermission})
	note("permit", permitted, err)
	enabled, err := auth.AuthEnable(timeout(v.t), &pb.AuthEnableRequest{})
	note("enable", enabled, err)
	v.asUsers()
	ctx := v.as("root", auth)
	users, err := auth.UserList(ctx, &pb.AuthUserListRequest{})
	note("users", users, err)
	roles, err := auth.RoleList(ctx, &pb.AuthRoleListRequest{})
	note("roles", roles, err)
	user, err := auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: "u"})
	note("user", user, err)
	role, err := auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "u"})
	note("role", role, err)
	changed, err := auth.UserChangePassword(ctx,
		&pb.AuthUserChangePasswordRequest{Name: "u", Password: "other"})
	note("change password", changed, err)
	revoked, err := auth.RoleRevokePermission(ctx,
		&pb.AuthRoleRevokePermissionRequest{Role: "u",
			Key: visitPermission.Key, RangeEnd: visitPermission.RangeEnd})
	note("revoke permission", revoked, err)
	taken, err := auth.UserRevokeRole(ctx,
		&pb.AuthUserRevokeRoleRequest{Name: "u", Role: "u"})
	note("revoke role", taken, err)
	found, err := auth.AuthStatus(ctx, &pb.AuthStatusRequest{})
	note("auth status", found, err)
	disabled, err := there.AuthDisable(ctx, &pb.AuthDisableRequest{})
	must(disabled, err)
	_ = v.revision()
	for _, name := range []string{"root", "u"} {
		must(auth.UserDelete(timeout(v.t),
			&pb.AuthUserDeleteRequest{Name: name}))
		must(auth.RoleDelete(timeout(v.t),
			&pb.AuthRoleDeleteRequest{Role: name}))
	}
	users, err = there.UserList(timeout(v.t), &pb.AuthUserListRequest{})
	if err != nil || len(users.Users) != 0 {
		v.t.Errorf("users left: %v, %v", users, err)
	}
	v.seen("users' keys")
	must(pb.NewKVClient(v.conn).DeleteRange(timeout(v.t),
		&pb.DeleteRangeRequest{Key: visited.Key, RangeEnd: visited.RangeEnd}))
}

var visitPermission = &authpb.Permission{Key: visitKey("u"),
	RangeEnd: visitKey("v"), PermType: authpb.Permission_READ}

func (v *visit) as(name string, auth pb.AuthClient) context.Context {
	var got *pb.AuthenticateResponse
	var err error
	if !harness.Eventually(time.Second, func() bool {
		got, err = auth.Authenticate(timeout(v.t),
			&pb.AuthenticateRequest{Name: name, Password: "secret"})
		return err == nil && got.Token != ""
	}) {
		v.t.Errorf("%s or %s authenticates %s: %v, %v", kind(v.at),
			kind(v.other), name, got, err)
	}
	// It is good for many calls.
	ctx, cancel := context.WithTimeout(context.Background(),
		3*harness.Patience())
	v.t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "token", got.GetToken())
}

func (v *visit) asUsers() {
	here, there := pb.NewKVClient(v.conn), pb.NewKVClient(v.there)
	wrong, err := pb.NewAuthClient(v.conn).Authenticate(timeout(v.t),
		&pb.AuthenticateRequest{Name: "u", Password: "wrong"})
	v.note("wrong password", wrong, err)
	put, err := here.Put(timeout(v.t), &pb.PutRequest{Key: visitKey("u")})
	v.note("put without a name", put, err)
	root := v.as("root", pb.NewAuthClient(v.conn))
	user := v.as("u", pb.NewAuthClient(v.there))
	for _, c := range []pb.KVClient{here, there} {
		put, err := c.Put(root, &pb.PutRequest{Key: visitKey("u1")})
		if err != nil {
			v.t.Errorf("%s or %s: root puts: %v, %v", kind(v.at),
				kind(v.other), put, err)
		}
		put, err = c.Put(user, &pb.PutRequest{Key: visitKey("u1")})
		v.note("a reader puts", put, err)
		if got, err := c.Range(user, &pb.RangeRequest{Key: visitKey("u1")}); err != nil || len(got.Kvs) != 1 {
			v.t.Errorf("%s or %s: a reader reads: %v, %v", kind(v.at),
				kind(v.other), got, err)
		}
		got, err := c.Range(user, &pb.RangeRequest{Key: visitKey("x")})
		v.note("a reader reads elsewhere", got, err)
	}
}

func (v *visit) pages() {
	for _, path := range []string{"/health", "/livez", "/readyz",
		"/readyz?verbose"} {
		p := fetch(v.t, "GET", v.at.ClientURL+path)
		v.say("%s: %d %s", path, p.Status, sortedLines(p.Body))
	}
	p := fetch(v.t, "GET", v.at.ClientURL+"/version")
	_, cluster, _ := strings.Cut(p.Body, `"etcdcluster"`)
	v.say("version: %d %s", p.Status, cluster)
	p = fetch(v.t, "GET", v.at.ClientURL+"/metrics")
	for _, want := range []string{"etcd_server_has_leader 1",
		"etcd_network_peer_sent_bytes_total{To="} {
		if !strings.Contains(p.Body, want) {
			v.t.Errorf("the metrics of %s have no %s", kind(v.at), want)
		}
	}
}
