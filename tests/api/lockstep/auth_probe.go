package lockstep

import (
	"bytes"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Whoever may do much for long is refused little. So there is one who is given
// a few permissions afresh, and asks for things at their borders.
const (
	prober     = "prober"
	probeRole  = "probe"
	probeLease = 7777
)

func (p *AuthPlayer) probe() error {
	if !p.enabled {
		return nil
	}
	world := p.g.keys
	defer func() { p.g.keys = world }()
	for _, request := range []proto.Message{
		&pb.AuthRoleDeleteRequest{Role: probeRole},
		&pb.AuthRoleAddRequest{Name: probeRole},
		&pb.AuthUserAddRequest{Name: prober, Password: "p"},
		&pb.AuthUserGrantRoleRequest{User: prober, Role: probeRole},
		&pb.LeaseGrantRequest{ID: probeLease, TTL: 9000},
		&pb.PutRequest{Key: pick(p.g, world...), Lease: probeLease},
	} {
		if err := p.asRoot(request); err != nil {
			return err
		}
	}
	p.known[prober] = "p"
	var granted []*authpb.Permission
	for round := range 3 {
		var change proto.Message
		if round == 2 {
			last := granted[len(granted)-1]
			change = &pb.AuthRoleRevokePermissionRequest{Role: probeRole,
				Key: last.Key, RangeEnd: last.RangeEnd}
		} else {
			perm := p.g.someKeys()
			granted = append(granted, perm)
			change = &pb.AuthRoleGrantPermissionRequest{Name: probeRole,
				Perm: perm}
		}
		if err := p.asRoot(change); err != nil {
			return err
		}
		if err := p.login(prober, "p"); err != nil {
			return err
		}
		p.as = p.tokens[prober]
		p.as.field = "token"
		p.g.keys = borders(granted, world)
		for range 5 {
			if err := p.plain(p.g.small()); err != nil {
				return err
			}
		}
		p.g.keys = world
	}
	return nil
}

// someKeys permits something of a key or a few.
func (g *generator) someKeys() *authpb.Permission {
	p := &authpb.Permission{PermType: authpb.Permission_Type(g.rng.IntN(3)),
		Key: bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])}
	switch n := g.rng.IntN(10); {
	case n < 5:
	case n < 6:
		p.RangeEnd = []byte{0}
	case n < 8:
		p.RangeEnd = prefixEnd(p.Key)
	default:
		p.RangeEnd = append(bytes.Clone(p.Key), 0, 0)
	}
	return p
}

// borders gives the keys where permissions begin and end, and few others.
func borders(permissions []*authpb.Permission, world [][]byte) [][]byte {
	keys := [][]byte{world[0], world[len(world)/2]}
	for _, p := range permissions {
		keys = append(keys, p.Key, p.Key, append(bytes.Clone(p.Key), 0))
		if len(p.RangeEnd) > 0 && p.RangeEnd[0] != 0 {
			keys = append(keys, p.RangeEnd)
		}
	}
	return keys
}

// small is a request of which a single part decides.
func (g *generator) small() proto.Message {
	key := bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
	end := g.rangeEnd(key)
	lease := pick(g, probeLease, g.leaseID())
	switch g.rng.IntN(12) {
	case 0, 1, 2:
		r := &pb.PutRequest{Key: key, PrevKv: g.chance(40)}
		if g.chance(30) {
			r.Lease = lease
		}
		return r
	case 3:
		return &pb.DeleteRangeRequest{Key: key, PrevKv: g.chance(50)}
	case 4:
		return &pb.DeleteRangeRequest{Key: key, RangeEnd: end}
	case 5, 6:
		return &pb.RangeRequest{Key: key, RangeEnd: end,
			Serializable: g.chance(50)}
	case 7, 8:
		return g.smallTxn(0)
	case 9:
		return &pb.LeaseTimeToLiveRequest{ID: lease, Keys: true}
	case 10:
		return &pb.LeaseRevokeRequest{ID: lease}
	default:
		return pick[proto.Message](g,
			&pb.AuthRoleGetRequest{Role: probeRole},
			&pb.AuthRoleGetRequest{Role: g.role()},
			&pb.AuthUserGetRequest{Name: prober},
			&pb.AuthUserGetRequest{Name: g.user()},
			&pb.LeaseLeasesRequest{})
	}
}

func (g *generator) smallTxn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	key := bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
	var op *pb.RequestOp
	switch n := g.rng.IntN(5); {
	case n == 0:
		t.Compare = append(t.Compare, &pb.Compare{Key: key,
			TargetUnion: &pb.Compare_Version{Version: g.rng.Int64N(2)}})
		return t
	case n == 1:
		op = putOp(key, nil)
		op.GetRequestPut().PrevKv = g.chance(50)
	case n == 2:
		op = rangeOp(&pb.RangeRequest{Key: key, RangeEnd: g.rangeEnd(key)})
	case n == 3 || depth > 1:
		op = deleteOp(key, nil, g.chance(50))
	default:
		op = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{
			RequestTxn: g.smallTxn(depth + 1)}}
	}
	if g.chance(50) {
		t.Success = append(t.Success, op)
	} else {
		t.Failure = append(t.Failure, op)
	}
	return t
}
