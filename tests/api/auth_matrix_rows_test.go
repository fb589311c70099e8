package api

import (
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var protoTypes = protoregistry.GlobalTypes

// fixed is a row whose request is the same each time.
func fixed(method, what string, request proto.Message) matrixRow {
	return matrixRow{method: method, what: what,
		request: func(*authWorld) proto.Message { return request }}
}

func (row matrixRow) around(before, after func(w *authWorld)) matrixRow {
	row.before, row.after = before, after
	return row
}

func matrixRows() []matrixRow {
	return slicesOf(kvRows(), watchRows(), leaseRows(), clusterRows(),
		maintenanceRows(), userRows(), roleRows(), lockRows(), electionRows(),
		healthRows())
}

func slicesOf(groups ...[]matrixRow) []matrixRow {
	var all []matrixRow
	for _, group := range groups {
		all = append(all, group...)
	}
	return all
}

func putOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: key}}}
}

// kvRows: the places are within the narrow roles, around them, and apart.
func kvRows() []matrixRow {
	const kv = "etcdserverpb.KV/"
	var rows []matrixRow
	for what, r := range map[string][2]string{"mine": {mine + "k", ""},
		"theirs": {theirs + "k", ""}, "my prefix": {mine, "narrow0"},
		"everything": {"\x00", "\x00"}, "no key": {"", ""}} {
		key, end := []byte(r[0]), []byte(r[1])
		get := &pb.RangeRequest{Key: key, RangeEnd: end}
		remove := &pb.DeleteRangeRequest{Key: append(key, "/none"...),
			RangeEnd: end}
		if len(end) > 0 || len(key) == 0 {
			remove = &pb.DeleteRangeRequest{Key: []byte(mine + "none"),
				RangeEnd: []byte(theirs)}
		}
		removePrev := proto.Clone(remove).(*pb.DeleteRangeRequest)
		removePrev.PrevKv = true
		rows = append(rows,
			fixed(kv+"Range", what, get),
			fixed(kv+"Range", what+", serializable", &pb.RangeRequest{Key: key,
				RangeEnd: end, Serializable: true}),
			fixed(kv+"Range", what+", counted", &pb.RangeRequest{Key: key,
				RangeEnd: end, CountOnly: true}),
			fixed(kv+"RangeStream", what, get),
			fixed(kv+"Put", what, &pb.PutRequest{Key: key}),
			fixed(kv+"Put", what+", with the one before", &pb.PutRequest{
				Key: key, PrevKv: true}),
			fixed(kv+"DeleteRange", what, remove),
			fixed(kv+"DeleteRange", what+", with what was there", removePrev),
			fixed(kv+"Txn", what+" read", &pb.TxnRequest{
				Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
					RequestRange: get}}}}),
			fixed(kv+"Txn", what+" put", &pb.TxnRequest{
				Success: []*pb.RequestOp{putOp(key)}}),
			fixed(kv+"Txn", what+" compared", &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: key, RangeEnd: end}}}),
			fixed(kv+"Txn", what+" compared, mine put", &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: key, RangeEnd: end}},
				Success: []*pb.RequestOp{putOp([]byte(mine + "k"))}}),
		)
	}
	bound := func(key string) matrixRow {
		return matrixRow{method: kv + "Put", what: key + " with a lease",
			request: func(w *authWorld) proto.Message {
				return &pb.PutRequest{Key: []byte(key), Lease: w.lease}
			}, before: (*authWorld).bind}
	}
	free := bound(mine + "k")
	free.what, free.before = "with a lease of nobody's", (*authWorld).free
	return append(rows, bound(mine+"k"), bound(theirs+"k"), free,
		fixed(kv+"Txn", "empty", &pb.TxnRequest{}),
		fixed(kv+"Compact", "", &pb.CompactionRequest{Revision: 1}))
}

func watchRows() []matrixRow {
	var rows []matrixRow
	for what, r := range map[string][2]string{"mine": {mine + "k", ""},
		"theirs": {theirs + "k", ""}, "my prefix": {mine, "narrow0"},
		"everything": {"", "\x00"}} {
		rows = append(rows, fixed("etcdserverpb.Watch/Watch", what,
			&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
				CreateRequest: &pb.WatchCreateRequest{Key: []byte(r[0]),
					RangeEnd: []byte(r[1])}}}))
	}
	return rows
}

func leaseRows() []matrixRow {
	const lease = "etcdserverpb.Lease/"
	rows := []matrixRow{fixed(lease+"LeaseGrant", "",
		&pb.LeaseGrantRequest{TTL: 600}),
		fixed(lease+"LeaseTimeToLive", "of none",
			&pb.LeaseTimeToLiveRequest{ID: 404, Keys: true})}
	for what, before := range map[string]func(*authWorld){
		"with keys": (*authWorld).bind, "without keys": (*authWorld).free} {
		for method, request := range map[string]func(int64) proto.Message{
			"LeaseRevoke": func(id int64) proto.Message {
				return &pb.LeaseRevokeRequest{ID: id}
			},
			"LeaseKeepAlive": func(id int64) proto.Message {
				return &pb.LeaseKeepAliveRequest{ID: id}
			},
			"LeaseTimeToLive": func(id int64) proto.Message {
				return &pb.LeaseTimeToLiveRequest{ID: id}
			},
			"LeaseTimeToLive ": func(id int64) proto.Message {
				return &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}
			},
			"LeaseLeases": func(int64) proto.Message {
				return &pb.LeaseLeasesRequest{}
			},
		} {
			name := what
			if method == "LeaseTimeToLive " {
				method, name = "LeaseTimeToLive", what+", shown"
			}
			rows = append(rows, matrixRow{method: lease + method, what: name,
				before: before, request: func(w *authWorld) proto.Message {
					return request(w.lease)
				}})
		}
	}
	return rows
}

// clusterRows: the member that is added is a learner, which has no vote, and
// leaves again.
func clusterRows() []matrixRow {
	const cluster = "etcdserverpb.Cluster/"
	dismiss := func(w *authWorld) {
		list := w.do("Cluster/MemberList",
			&pb.MemberListRequest{}).(*pb.MemberListResponse)
		for _, m := range list.Members {
			if m.IsLearner {
				w.do("Cluster/MemberRemove", &pb.MemberRemoveRequest{ID: m.ID})
			}
		}
	}
	return []matrixRow{
		fixed(cluster+"MemberAdd", "a learner", &pb.MemberAddRequest{
			PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true,
		}).around(nil, dismiss),
		fixed(cluster+"MemberAdd", "without URLs", &pb.MemberAddRequest{}),
		fixed(cluster+"MemberRemove", "", &pb.MemberRemoveRequest{ID: 1}),
		fixed(cluster+"MemberUpdate", "", &pb.MemberUpdateRequest{ID: 1,
			PeerURLs: []string{"http://127.0.0.1:1"}}),
		{method: cluster + "MemberUpdate", what: "without URLs",
			request: func(*authWorld) proto.Message {
				return &pb.MemberUpdateRequest{ID: 1}
			},
			differs: map[string]string{"root": "URLs that are none are " +
				"refused before the member is looked for: etcd's members " +
				"would end on them"}},
		fixed(cluster+"MemberList", "", &pb.MemberListRequest{}),
		fixed(cluster+"MemberList", "linearizable",
			&pb.MemberListRequest{Linearizable: true}),
		fixed(cluster+"MemberPromote", "", &pb.MemberPromoteRequest{ID: 1}),
	}
}

func maintenanceRows() []matrixRow {
	const maintenance = "etcdserverpb.Maintenance/"
	alarm := func(action pb.AlarmRequest_AlarmAction) proto.Message {
		return &pb.AlarmRequest{Action: action, Alarm: pb.AlarmType_NOSPACE}
	}
	return []matrixRow{
		fixed(maintenance+"Alarm", "looked at", alarm(pb.AlarmRequest_GET)),
		fixed(maintenance+"Alarm", "raised",
			alarm(pb.AlarmRequest_ACTIVATE)).around(nil, func(w *authWorld) {
			w.do("Maintenance/Alarm", alarm(pb.AlarmRequest_DEACTIVATE))
		}),
		fixed(maintenance+"Alarm", "taken back",
			alarm(pb.AlarmRequest_DEACTIVATE)),
		fixed(maintenance+"Status", "", &pb.StatusRequest{}),
		fixed(maintenance+"Defragment", "", &pb.DefragmentRequest{}),
		fixed(maintenance+"Hash", "", &pb.HashRequest{}),
		fixed(maintenance+"HashKV", "", &pb.HashKVRequest{}),
		fixed(maintenance+"Snapshot", "", &pb.SnapshotRequest{}),
		fixed(maintenance+"MoveLeader", "", &pb.MoveLeaderRequest{TargetID: 1}),
		fixed(maintenance+"Downgrade", "looked at", &pb.DowngradeRequest{
			Action: pb.DowngradeRequest_VALIDATE, Version: "9.9.9"}),
		fixed(maintenance+"Downgrade", "taken back", &pb.DowngradeRequest{
			Action: pb.DowngradeRequest_CANCEL}),
	}
}

func userRows() []matrixRow {
	const auth = "etcdserverpb.Auth/"
	enable := func(w *authWorld) {
		_, _ = w.auth.AuthEnable(timeout(w.t), &pb.AuthEnableRequest{})
		w.loginAll("root", "narrow", "reader", "writer", "bare")
	}
	add := func(w *authWorld) {
		_, _ = w.unary("root", auth+"UserAdd", &pb.AuthUserAddRequest{
			Name: "fresh", Password: "o"})
	}
	remove := func(w *authWorld) {
		_, _ = w.unary("root", auth+"UserDelete",
			&pb.AuthUserDeleteRequest{Name: "fresh"})
	}
	return []matrixRow{
		fixed(auth+"AuthEnable", "", &pb.AuthEnableRequest{}),
		fixed(auth+"AuthDisable", "", &pb.AuthDisableRequest{}).around(nil,
			enable),
		fixed(auth+"AuthStatus", "", &pb.AuthStatusRequest{}),
		fixed(auth+"Authenticate", "", &pb.AuthenticateRequest{
			Name: "dummy", Password: "o"}),
		fixed(auth+"Authenticate", "wrongly", &pb.AuthenticateRequest{
			Name: "dummy", Password: "no"}),
		fixed(auth+"UserAdd", "", &pb.AuthUserAddRequest{Name: "fresh",
			Password: "o"}).around(remove, remove),
		fixed(auth+"UserAdd", "there", &pb.AuthUserAddRequest{Name: "dummy",
			Password: "o"}),
		fixed(auth+"UserGet", "narrow", &pb.AuthUserGetRequest{Name: "narrow"}),
		fixed(auth+"UserGet", "bare", &pb.AuthUserGetRequest{Name: "bare"}),
		fixed(auth+"UserGet", "no user", &pb.AuthUserGetRequest{Name: "x"}),
		fixed(auth+"UserList", "", &pb.AuthUserListRequest{}),
		fixed(auth+"UserDelete", "", &pb.AuthUserDeleteRequest{
			Name: "fresh"}).around(add, remove),
		fixed(auth+"UserDelete", "no user", &pb.AuthUserDeleteRequest{
			Name: "x"}),
		fixed(auth+"UserChangePassword", "",
			&pb.AuthUserChangePasswordRequest{Name: "dummy", Password: "o"}),
		fixed(auth+"UserGrantRole", "", &pb.AuthUserGrantRoleRequest{
			User: "fresh", Role: "narrow"}).around(add, remove),
		fixed(auth+"UserRevokeRole", "", &pb.AuthUserRevokeRoleRequest{
			Name: "fresh", Role: "narrow"}).around(add, remove),
	}
}

func roleRows() []matrixRow {
	const auth = "etcdserverpb.Auth/"
	add := func(w *authWorld) {
		_, _ = w.unary("root", auth+"RoleAdd", &pb.AuthRoleAddRequest{
			Name: "fresh"})
	}
	remove := func(w *authWorld) {
		_, _ = w.unary("root", auth+"RoleDelete",
			&pb.AuthRoleDeleteRequest{Role: "fresh"})
	}
	return []matrixRow{
		fixed(auth+"RoleAdd", "", &pb.AuthRoleAddRequest{
			Name: "fresh"}).around(remove, remove),
		fixed(auth+"RoleGet", "narrow", &pb.AuthRoleGetRequest{Role: "narrow"}),
		fixed(auth+"RoleGet", "root", &pb.AuthRoleGetRequest{Role: "root"}),
		fixed(auth+"RoleGet", "no role", &pb.AuthRoleGetRequest{Role: "x"}),
		fixed(auth+"RoleList", "", &pb.AuthRoleListRequest{}),
		fixed(auth+"RoleDelete", "", &pb.AuthRoleDeleteRequest{
			Role: "fresh"}).around(add, remove),
		fixed(auth+"RoleGrantPermission", "",
			&pb.AuthRoleGrantPermissionRequest{Name: "fresh",
				Perm: &authpb.Permission{Key: []byte("k")}}).around(add, remove),
		fixed(auth+"RoleRevokePermission", "",
			&pb.AuthRoleRevokePermissionRequest{Role: "fresh",
				Key: []byte("k")}).around(add, remove),
	}
}

func lockRows() []matrixRow {
	var rows []matrixRow
	for what, side := range map[string]string{"mine": mine, "theirs": theirs} {
		name := []byte(side + "lock")
		rows = append(rows,
			fixed("v3lockpb.Lock/Lock", what, &v3lockpb.LockRequest{
				Name: name}).around(nil, (*authWorld).unlockAll),
			matrixRow{method: "v3lockpb.Lock/Lock", what: what + ", with a lease",
				before: (*authWorld).free, after: (*authWorld).unlockAll,
				request: func(w *authWorld) proto.Message {
					return &v3lockpb.LockRequest{Name: name, Lease: w.lease}
				}},
			fixed("v3lockpb.Lock/Unlock", what, &v3lockpb.UnlockRequest{
				Key: []byte(side + "lock/1")}))
	}
	return rows
}

func electionRows() []matrixRow {
	const election = "v3electionpb.Election/"
	var rows []matrixRow
	for what, side := range map[string]string{"mine": mine, "theirs": theirs} {
		name := []byte(side + "lock")
		lead := func(w *authWorld) {
			w.free()
			w.lead()
		}
		rows = append(rows,
			fixed(election+"Campaign", what, &v3electionpb.CampaignRequest{
				Name: name}).around(nil, (*authWorld).unlockAll),
			matrixRow{method: election + "Campaign", what: what +
				", with a lease", before: (*authWorld).free,
				after: (*authWorld).unlockAll,
				request: func(w *authWorld) proto.Message {
					return &v3electionpb.CampaignRequest{Name: name,
						Lease: w.lease}
				}},
			matrixRow{method: election + "Proclaim", what: what, before: lead,
				request: func(w *authWorld) proto.Message {
					return &v3electionpb.ProclaimRequest{Leader: w.leader[side]}
				}},
			matrixRow{method: election + "Resign", what: what, before: lead,
				request: func(w *authWorld) proto.Message {
					return &v3electionpb.ResignRequest{Leader: w.leader[side]}
				}})
		for _, sort := range []string{"led", "empty"} {
			request := &v3electionpb.LeaderRequest{Name: []byte(side + sort)}
			rows = append(rows,
				fixed(election+"Leader", what+", "+sort, request),
				fixed(election+"Observe", what+", "+sort, request))
		}
	}
	return append(rows,
		fixed(election+"Leader", "of all", &v3electionpb.LeaderRequest{}),
		fixed(election+"Observe", "of all", &v3electionpb.LeaderRequest{}),
		fixed(election+"Proclaim", "nothing", &v3electionpb.ProclaimRequest{}),
		fixed(election+"Resign", "nothing", &v3electionpb.ResignRequest{}))
}

// healthRows: who looks after a server needs no user on it.
func healthRows() []matrixRow {
	const health = "grpc.health.v1.Health/"
	return []matrixRow{
		fixed(health+"Check", "", &healthpb.HealthCheckRequest{}),
		fixed(health+"List", "", &healthpb.HealthListRequest{}),
		fixed(health+"Watch", "", &healthpb.HealthCheckRequest{}),
	}
}
