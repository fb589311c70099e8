package lockstep

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// AuthPlayer plays users, roles, permissions and tokens, and all the other
// requests in the name of somebody.
type AuthPlayer struct {
	*Player
	// Signed says that tokens are signed with a key that both sides have, so
	// that each takes the other's.
	Signed bool
	// Stored is how many records of users, roles and auth were equal at the end.
	Stored int

	as      identity
	enabled bool
	known   map[string]string // passwords that were set
	tokens  map[string]identity
	old     []identity
}

// identity is who a request comes from: the tokens that the sides gave for it.
type identity struct {
	note   string
	tokens map[*Side]string
	field  string
}

// NewAuthPlayer makes a player for two sides whose stores are empty.
func NewAuthPlayer(a, b *Side, seed uint64) *AuthPlayer {
	p := &AuthPlayer{Player: NewPlayer(a, b, seed),
		known: map[string]string{}, tokens: map[string]identity{}}
	p.g.rng = rand.New(rand.NewPCG(seed, 0x61757468))
	p.g.keys = authKeys()
	return p
}

// Play plays n operations and compares what they have left.
func (p *AuthPlayer) Play(n int) error {
	steps := authSteps()
	total := 0.0
	for _, s := range steps {
		total += s.weight
	}
	for p.index = 0; p.index < n; p.index++ {
		if err := p.keepGoing(); err != nil {
			return err
		}
		p.choose()
		at := p.g.rng.Float64() * total
		for _, s := range steps {
			if at -= s.weight; at < 0 {
				p.Steps[s.name]++
				if err := s.play(p); err != nil {
					return err
				}
				break
			}
		}
	}
	return p.finish()
}

// ---- who asks ----

func (p *AuthPlayer) nobody() { p.as = identity{note: "nobody"} }

func (p *AuthPlayer) choose() {
	g := p.g
	p.nobody()
	root, rooted := p.tokens["root"]
	switch n := g.rng.IntN(100); {
	case n < 35 && rooted:
		p.as = root
	case n < 80 && len(p.tokens) > 0:
		var there []identity
		for _, name := range userNames {
			if token, ok := p.tokens[name]; ok {
				there = append(there, token)
			}
		}
		p.as = pick(g, there...)
	case n < 88 && len(p.old) > 0:
		p.as = pick(g, p.old...)
	case n < 92:
		forged := g.forged()
		p.as = identity{note: "forged " + forged,
			tokens: map[*Side]string{p.a: forged, p.b: forged}}
	}
	p.as.field = pick(g, "token", "token", "authorization")
}

// context carries the identity's token to a side; of signed ones sometimes the
// other side's.
func (p *AuthPlayer) context(parent context.Context, s *Side,
	swapped bool) context.Context {
	token, ok := p.as.tokens[s]
	if swapped && p.Signed && ok {
		for side, other := range p.as.tokens {
			if side != s {
				token = other
			}
		}
	}
	switch {
	case !ok:
		return parent
	case p.as.field == "authorization":
		return metadata.AppendToOutgoingContext(parent, "authorization",
			"Bearer "+token)
	default:
		return metadata.AppendToOutgoingContext(parent, "token", token)
	}
}

// ask plays one request in the name of who asks.
func (p *AuthPlayer) ask(request proto.Message) (Answer, error) {
	return p.askWith(request, func(ctx context.Context, s *Side) Answer {
		return s.do(ctx, request)
	})
}

func (p *AuthPlayer) askWith(request proto.Message,
	call func(context.Context, *Side) Answer) (Answer, error) {
	p.note(p.as.note + ": " + Show(request))
	parent, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	swapped := p.g.chance(50)
	x, y := both(func(s *Side) Answer {
		return call(p.context(parent, s, swapped), s)
	}, p.a, p.b)
	return y, p.judge(request, x, y)
}

func (p *AuthPlayer) plain(request proto.Message) error {
	_, err := p.ask(request)
	return err
}

// asRoot plays one request as root, who is given a token first if need be.
func (p *AuthPlayer) asRoot(request proto.Message) error {
	if p.enabled {
		if err := p.login("root", p.known["root"]); err != nil {
			return err
		}
		p.as = p.tokens["root"]
		p.as.field = "token"
	}
	return p.plain(request)
}

// ---- tokens ----

var simpleToken = regexp.MustCompile(`\A[a-zA-Z]{16}\.[0-9]+\z`)

// login asks for a token and keeps it. What it looks like is compared, not what
// it is.
func (p *AuthPlayer) login(name, password string) error {
	request := &pb.AuthenticateRequest{Name: name, Password: password}
	given := map[*Side]string{}
	p.note(fmt.Sprintf("%s: %s", p.as.note, Show(request)))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	call := func(s *Side) (Answer, string) {
		answer := s.do(p.context(ctx, s, false), request)
		if answer.Code != "OK" {
			return answer, ""
		}
		reply := answer.Messages[0].(*pb.AuthenticateResponse)
		token := reply.Token
		switch {
		case simpleToken.MatchString(token):
			reply.Token = "simple"
		case strings.Count(token, ".") == 2:
			reply.Token = "signed"
		}
		return answer, token
	}
	x, tokenA := call(p.a)
	y, tokenB := call(p.b)
	if err := p.judge(request, x, y); err != nil {
		return err
	}
	if y.Code != "OK" {
		return nil
	}
	given[p.a], given[p.b] = tokenA, tokenB
	if before, ok := p.tokens[name]; ok {
		p.forget(before)
	}
	p.tokens[name] = identity{note: name, tokens: given}
	return nil
}

func (p *AuthPlayer) forget(token identity) {
	token.note += " (old)"
	p.old = append(p.old, token)
	if len(p.old) > 12 {
		p.old = p.old[1:]
	}
}

func (p *AuthPlayer) authenticate() error {
	name := p.g.user()
	password, ok := p.known[name]
	if !ok || p.g.chance(15) {
		password = p.g.password()
	}
	return p.login(name, password)
}

// ---- on and off ----

// keepGoing switches auth on again after a while, and keeps root in the game:
// signed tokens are worth nothing after each change.
func (p *AuthPlayer) keepGoing() error {
	if !p.enabled && p.g.chance(6) {
		p.nobody()
		for _, request := range []proto.Message{
			&pb.AuthUserAddRequest{Name: "root", Password: "p0"},
			&pb.AuthUserChangePasswordRequest{Name: "root", Password: "p0"},
			&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		} {
			if err := p.plain(request); err != nil {
				return err
			}
		}
		p.known["root"] = "p0"
		return p.enable()
	}
	if p.enabled && (p.tokens["root"].tokens == nil || p.g.chance(8)) {
		p.nobody()
		return p.login("root", p.known["root"])
	}
	if p.enabled && p.Signed && p.g.chance(30) {
		return p.authenticate()
	}
	return nil
}

func (p *AuthPlayer) enable() error {
	answer, err := p.ask(&pb.AuthEnableRequest{})
	if err == nil && answer.Code == "OK" {
		p.enabled = true
	}
	return err
}

func (p *AuthPlayer) disable() error {
	answer, err := p.ask(&pb.AuthDisableRequest{})
	if err == nil && answer.Code == "OK" && p.enabled {
		p.enabled = false
		for _, name := range userNames {
			if token, ok := p.tokens[name]; ok {
				p.forget(token)
			}
		}
		p.tokens = map[string]identity{}
	}
	return err
}

// ---- users ----

func (p *AuthPlayer) addUser() error {
	request := p.g.userAdd()
	answer, err := p.ask(request)
	if err == nil && answer.Code == "OK" {
		p.known[request.Name] = request.Password
	}
	return err
}

func (p *AuthPlayer) changePassword() error {
	request := p.g.changePassword()
	answer, err := p.ask(request)
	if err == nil && answer.Code == "OK" {
		p.known[request.Name] = request.Password
		if request.HashedPassword == readyHash {
			p.known[request.Name] = "p1"
		}
	}
	return err
}

// ---- everything else in somebody's name ----

func authSteps() []authStep {
	ask := func(make func(*generator) proto.Message) func(*AuthPlayer) error {
		return func(p *AuthPlayer) error { return p.plain(make(p.g)) }
	}
	return []authStep{
		{8, "authenticate", (*AuthPlayer).authenticate},
		{0.5, "enable", (*AuthPlayer).enable},
		{0.4, "disable", (*AuthPlayer).disable},
		{1, "status of auth", ask(func(*generator) proto.Message {
			return &pb.AuthStatusRequest{}
		})},
		{5, "user add", (*AuthPlayer).addUser},
		{1, "user delete", ask(func(g *generator) proto.Message {
			return &pb.AuthUserDeleteRequest{Name: g.user()}
		})},
		{2, "user change password", (*AuthPlayer).changePassword},
		{6, "user grant role", ask(func(g *generator) proto.Message {
			return &pb.AuthUserGrantRoleRequest{User: g.user(), Role: g.role()}
		})},
		{1.5, "user revoke role", ask(func(g *generator) proto.Message {
			return &pb.AuthUserRevokeRoleRequest{Name: g.user(),
				Role: g.role()}
		})},
		{2, "user get", ask(func(g *generator) proto.Message {
			return &pb.AuthUserGetRequest{Name: g.user()}
		})},
		{1, "user list", ask(func(*generator) proto.Message {
			return &pb.AuthUserListRequest{}
		})},
		{4, "role add", ask(func(g *generator) proto.Message {
			return &pb.AuthRoleAddRequest{Name: g.role()}
		})},
		{0.7, "role delete", ask(func(g *generator) proto.Message {
			return &pb.AuthRoleDeleteRequest{Role: g.role()}
		})},
		{2, "role get", ask(func(g *generator) proto.Message {
			return &pb.AuthRoleGetRequest{Role: g.role()}
		})},
		{1, "role list", ask(func(*generator) proto.Message {
			return &pb.AuthRoleListRequest{}
		})},
		{10, "role grant", ask(func(g *generator) proto.Message {
			return &pb.AuthRoleGrantPermissionRequest{Name: g.role(),
				Perm: g.permission()}
		})},
		{2.5, "role revoke", ask(func(g *generator) proto.Message {
			return g.revokePermission()
		})},
		{10, "put", ask(func(g *generator) proto.Message { return g.put() })},
		{4, "delete", ask(func(g *generator) proto.Message {
			return g.deleteRange()
		})},
		{12, "range", ask(func(g *generator) proto.Message {
			return g.ranges()
		})},
		{2, "range stream", (*AuthPlayer).rangeStream},
		{3, "txn", ask(func(g *generator) proto.Message { return g.txn(0) })},
		{5, "careful txn", ask(func(g *generator) proto.Message {
			return g.careful(0)
		})},
		{3, "read txn", ask(func(g *generator) proto.Message {
			return g.readTxn()
		})},
		{4, "permissions afresh", (*AuthPlayer).probe},
		{4, "watch", (*AuthPlayer).watch},
		{3, "lease grant", ask(func(g *generator) proto.Message {
			return &pb.LeaseGrantRequest{ID: pick(g, leaseIDs...), TTL: 9000}
		})},
		{2, "lease revoke", ask(func(g *generator) proto.Message {
			return &pb.LeaseRevokeRequest{ID: pick(g, leaseIDs...)}
		})},
		{3, "lease time to live", ask(func(g *generator) proto.Message {
			return &pb.LeaseTimeToLiveRequest{ID: pick(g, leaseIDs...),
				Keys: g.chance(60)}
		})},
		{2, "lease list", ask(func(*generator) proto.Message {
			return &pb.LeaseLeasesRequest{}
		})},
		{3, "lease keep-alive", (*AuthPlayer).keepAlive},
		{1, "compact", (*AuthPlayer).compact},
		{1, "hash of the keys", ask(func(*generator) proto.Message {
			return &pb.HashKVRequest{}
		})},
		{0.5, "hash", ask(func(*generator) proto.Message {
			return &pb.HashRequest{}
		})},
		{1, "status", ask(func(*generator) proto.Message {
			return &pb.StatusRequest{}
		})},
		{2, "alarm", ask(func(g *generator) proto.Message {
			return &pb.AlarmRequest{MemberID: 77, Alarm: 7, Action: pick(g,
				pb.AlarmRequest_GET, pb.AlarmRequest_ACTIVATE,
				pb.AlarmRequest_DEACTIVATE)}
		})},
		{1, "members", ask(func(g *generator) proto.Message {
			return &pb.MemberListRequest{Linearizable: g.chance(50)}
		})},
		{0.3, "defragment", ask(func(*generator) proto.Message {
			return &pb.DefragmentRequest{}
		})},
		{0.7, "snapshot", (*AuthPlayer).snapshot},
		{0.5, "strings that aren't UTF-8", (*AuthPlayer).badStrings},
		{0.15, "restart", (*AuthPlayer).restart},
	}
}

type authStep struct {
	weight float64
	name   string
	play   func(*AuthPlayer) error
}

func (p *AuthPlayer) rangeStream() error {
	request := p.g.streamRange()
	_, err := p.askWith(request, func(ctx context.Context, s *Side) Answer {
		answer := s.rangeStream(ctx, request)
		answer.Messages = merged(answer.Messages)
		return answer
	})
	return err
}

func (p *AuthPlayer) compact() error {
	request := &pb.CompactionRequest{Revision: p.g.pastRev(), Physical: true}
	answer, err := p.ask(request)
	if answer.Code == "OK" {
		p.g.compacted = request.Revision
	}
	return err
}

// keepAlive renews two leases on a stream of its own.
func (p *AuthPlayer) keepAlive() error {
	ids := []int64{pick(p.g, leaseIDs...), pick(p.g, leaseIDs...)}
	request := &pb.LeaseKeepAliveRequest{ID: ids[0]}
	_, err := p.askWith(request, func(ctx context.Context, s *Side) Answer {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := s.lease.LeaseKeepAlive(ctx)
		if err != nil {
			return failure(nil, err)
		}
		var messages []proto.Message
		for _, id := range ids {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
				break // Recv says why
			}
		}
		for range ids {
			reply, err := stream.Recv()
			if err != nil {
				return failure(messages, err)
			}
			messages = append(messages, reply)
		}
		return Answer{messages, "OK", ""}
	})
	return err
}

// watch creates two watchers on a stream of its own and compares how that is
// answered.
func (p *AuthPlayer) watch() error {
	creates := []*pb.WatchCreateRequest{p.g.watchCreate(nil),
		p.g.watchCreate(nil)}
	for _, create := range creates {
		create.WatchId = 0
		create.StartRevision = max(-1, -create.StartRevision)
		create.StartRevision = min(create.StartRevision, 0)
	}
	_, err := p.askWith(creates[0], func(ctx context.Context, s *Side) Answer {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
		if err != nil {
			return failure(nil, err)
		}
		var messages []proto.Message
		for _, create := range creates {
			err := stream.Send(&pb.WatchRequest{
				RequestUnion: &pb.WatchRequest_CreateRequest{
					CreateRequest: create}})
			if err != nil {
				break
			}
			reply, err := stream.Recv()
			if err != nil {
				return failure(messages, err)
			}
			messages = append(messages, reply)
		}
		return Answer{messages, "OK", ""}
	})
	return err
}

// snapshot sees who is given one.
func (p *AuthPlayer) snapshot() error {
	request := &pb.SnapshotRequest{}
	_, err := p.askWith(request, func(ctx context.Context, s *Side) Answer {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := s.maint.Snapshot(ctx, request)
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			return failure(nil, err)
		}
		return Answer{Code: "OK"}
	})
	return err
}

// badStrings has names that aren't UTF-8, which Go's own stubs can't send.
func (p *AuthPlayer) badStrings() error {
	method := pick(p.g, "UserAdd", "UserDelete", "UserGrantRole", "RoleAdd",
		"RoleGet", "UserChangePassword", "Authenticate", "UserGet",
		"RoleRevokePermission", "RoleGrantPermission", "UserRevokeRole",
		"RoleDelete")
	body := pick(p.g, []byte("\x0a\x02\xc3\x28"), []byte("\x0a\x01u\x12\x01\xff"),
		[]byte("\x0a\x02u"), []byte("\x1a\x01\xff"), []byte("\x0a\x01\xff\x0a\x01u"))
	_, err := p.askWith(&pb.AuthUserGetRequest{Name: method + string(
		fmt.Appendf(nil, "%q", body))}, func(ctx context.Context, s *Side) Answer {
		var out []byte
		err := Raw(ctx, s.conn, "/etcdserverpb.Auth/"+method, body, &out)
		if err != nil {
			answer := failure(nil, err)
			// Go varies its spaces between builds.
			answer.Text = strings.ReplaceAll(answer.Text, "\u00a0", " ")
			return answer
		}
		return Answer{Code: "OK"}
	})
	return err
}

// restart ends both; tokens that aren't signed are gone.
func (p *AuthPlayer) restart() error {
	if p.Restart == nil {
		return nil
	}
	// An alarm that only the test knows would keep /health from being well.
	err := p.asRoot(&pb.AlarmRequest{MemberID: 77, Alarm: 7,
		Action: pb.AlarmRequest_DEACTIVATE})
	if err != nil {
		return err
	}
	// A token given out just now would come back with the end of the log: etcd
	// counts a change to the keys as the end, chorad every entry.
	err = p.asRoot(&pb.PutRequest{Key: []byte("z")})
	if err != nil {
		return err
	}
	p.note("restart of both")
	time.Sleep(300 * time.Millisecond)
	p.a.Close()
	p.b.Close()
	if err := p.Restart(); err != nil {
		return p.mismatch(err.Error())
	}
	for _, side := range []*Side{p.a, p.b} {
		if err := side.dial(); err != nil {
			return p.mismatch(err.Error())
		}
	}
	if p.Signed {
		return nil
	}
	for _, name := range userNames {
		if token, ok := p.tokens[name]; ok {
			p.forget(token)
		}
	}
	p.tokens = map[string]identity{}
	return nil
}

// finish compares all users, all roles, and the keys; then what is stored.
func (p *AuthPlayer) finish() error {
	requests := []proto.Message{&pb.AuthStatusRequest{},
		&pb.AuthUserListRequest{}, &pb.AuthRoleListRequest{},
		&pb.HashKVRequest{}, &pb.LeaseLeasesRequest{},
		&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}
	for _, name := range userNames {
		requests = append(requests, &pb.AuthUserGetRequest{Name: name})
	}
	for _, name := range roleNames {
		requests = append(requests, &pb.AuthRoleGetRequest{Role: name})
	}
	for _, request := range requests {
		if err := p.asRoot(request); err != nil {
			return err
		}
	}
	return p.stored()
}
