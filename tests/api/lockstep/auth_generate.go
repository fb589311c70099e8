package lockstep

import (
	"bytes"
	"encoding/base64"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A small world: names that are nearly others, keys that are neighbours.
var (
	userNames = []string{"root", "u0", "u1", "u2", "u3", "ü", "root\x00x",
		prober}
	roleNames = []string{"root", "r0", "r1", "r2", "r3", "r 4",
		probeRole}
	passwords = []string{"p0", "p1", "pässwörd", "\xc3\xbf\xc2\xa3",
		strings.Repeat("0123456789", 7) + "ab"}
	// What bcrypt makes of "p1", as a client may send it.
	readyHash = base64.StdEncoding.EncodeToString([]byte(
		"$2a$04$0BFM5X0EfpQ5QGv1CdpF0eV/z4A5WlJwpkVi1ehMH9BMDXMRoU.IS"))
)

func authKeys() [][]byte {
	keys := [][]byte{{0}, {0xff}, {0xff, 0xff}, []byte("z")}
	for _, a := range "abcd" {
		keys = append(keys, []byte{byte(a)}, []byte{byte(a), 0})
		for _, b := range "ab" {
			keys = append(keys, []byte{byte(a), '/', byte(b)})
		}
	}
	return keys
}

func (g *generator) user() string {
	switch n := g.rng.IntN(40); n {
	case 0:
		return ""
	case 1:
		return "nobody"
	case 2, 3, 4:
		return "root"
	default:
		return pick(g, userNames...)
	}
}

func (g *generator) role() string {
	switch n := g.rng.IntN(40); n {
	case 0:
		return ""
	case 1:
		return "none"
	default:
		return pick(g, roleNames...)
	}
}

func (g *generator) password() string {
	switch n := g.rng.IntN(30); n {
	case 0:
		return ""
	case 1:
		return strings.Repeat("long", 19)
	default:
		return pick(g, passwords...)
	}
}

func (g *generator) userAdd() *pb.AuthUserAddRequest {
	r := &pb.AuthUserAddRequest{Name: g.user(), Password: g.password()}
	switch n := g.rng.IntN(10); n {
	case 0:
		r.Options = &authpb.UserAddOptions{NoPassword: true}
	case 1:
		r.Options = &authpb.UserAddOptions{}
	case 2:
		// Not asked for: the member that is asked makes its own.
		r.HashedPassword = pick(g, readyHash, "*", "")
	}
	return r
}

// changePassword never takes root's password away.
func (g *generator) changePassword() *pb.AuthUserChangePasswordRequest {
	r := &pb.AuthUserChangePasswordRequest{Name: g.user(),
		Password: g.password()}
	if r.Name == "root" {
		r.Password = pick(g, passwords...)
		return r
	}
	switch n := g.rng.IntN(10); n {
	case 0:
		r.Password, r.HashedPassword = "", readyHash
	case 1:
		r.Password, r.HashedPassword = "", pick(g, "*", "aGFzaA==", "aGFzaA",
			"aGF\nzaA==", "")
	}
	return r
}

func (g *generator) permission() *authpb.Permission {
	if g.chance(3) {
		return nil
	}
	p := &authpb.Permission{PermType: authpb.Permission_Type(g.rng.IntN(3))}
	if g.chance(2) {
		p.PermType = pick[authpb.Permission_Type](g, 3, -1, 77)
	}
	p.Key = bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
	if g.chance(2) {
		p.Key = nil
	}
	switch n := g.rng.IntN(10); {
	case n < 3:
	case n < 5:
		p.RangeEnd = []byte{0}
	case n < 8:
		p.RangeEnd = prefixEnd(p.Key)
	default:
		p.RangeEnd = bytes.Clone(g.keys[g.rng.IntN(len(g.keys))])
	}
	return p
}

func (g *generator) revokePermission() *pb.AuthRoleRevokePermissionRequest {
	p := g.permission()
	return &pb.AuthRoleRevokePermissionRequest{Role: g.role(), Key: p.GetKey(),
		RangeEnd: p.GetRangeEnd()}
}

// forged gives tokens that nobody was given. None of them names an index that
// the log hasn't reached: etcd would wait for it as long as the client does.
func (g *generator) forged() string {
	return pick(g, "", "x", ".", "a.b", "a.1", "a.1.2", "a.-1", "a.+1",
		"GHhHSqzlTENapEfU.3", "a.18446744073709551616", "Bearer ", "a.b.c",
		"eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6OX0.",
		"eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
}
