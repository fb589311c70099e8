package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"chorad.tests/api/harness"
)

// TestAuthOperators has everybody try what only operators may do to a cluster,
// at the client port and at the peer port, and compares what comes of it. The
// ids and versions are such that nothing changes when it is root who asks.
func TestAuthOperators(t *testing.T) {
	answers := map[string][]string{}
	for _, binary := range []string{harness.Chorad(t), harness.Tool(t, "etcd")} {
		g := guard(t, binary)
		if !harness.Eventually(harness.Patience(), func() bool {
			return strings.Contains(fetch(t, "GET", g.ClientURL+"/version").Body,
				`"etcdcluster":"3.7.0"`)
		}) {
			t.Fatalf("%s doesn't decide on a version", binary)
		}
		answers[binary] = append(g.operate(), g.promoteAsPeer()...)
	}
	tested, etcd := answers[harness.Chorad(t)], answers[harness.Tool(t, "etcd")]
	for i := range etcd {
		if tested[i] != etcd[i] {
			t.Errorf("tested: %s\netcd:   %s", tested[i], etcd[i])
		}
	}
	for _, answer := range tested {
		if !strings.HasPrefix(answer, "root") &&
			!strings.Contains(answer, "denied") &&
			!strings.Contains(answer, "name is empty") &&
			!strings.Contains(answer, "invalid auth token") &&
			!strings.Contains(answer, "Internal Server Error") {
			t.Errorf("not refused: %s", answer)
		}
	}
}

// callers are the contexts of all kinds of callers.
func (g *guarded) callers() map[string]context.Context {
	g.t.Helper()
	root := metadata.AppendToOutgoingContext(timeout(g.t), "token", g.login())
	if _, err := g.auth.UserAdd(root, &pb.AuthUserAddRequest{Name: "u",
		Password: "p"}); err != nil {
		g.t.Fatal(err)
	}
	reply, err := g.auth.Authenticate(timeout(g.t), &pb.AuthenticateRequest{
		Name: "u", Password: "p"})
	if err != nil {
		g.t.Fatal(err)
	}
	return map[string]context.Context{
		"root":   root,
		"nobody": timeout(g.t),
		"user": metadata.AppendToOutgoingContext(timeout(g.t), "token",
			reply.Token),
		"stranger": metadata.AppendToOutgoingContext(timeout(g.t), "token",
			"abc.1"),
	}
}

func (g *guarded) operate() (answers []string) {
	members := pb.NewClusterClient(g.conn)
	upkeep := pb.NewMaintenanceClient(g.conn)
	callers := g.callers()
	calls := []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"add", func(ctx context.Context) error {
			_, err := members.MemberAdd(ctx, &pb.MemberAddRequest{
				PeerURLs: []string{g.PeerURL}})
			return err
		}},
		{"add, bad URL", func(ctx context.Context) error {
			_, err := members.MemberAdd(ctx, &pb.MemberAddRequest{
				PeerURLs: []string{"no URL"}})
			return err
		}},
		{"remove", func(ctx context.Context) error {
			_, err := members.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 7})
			return err
		}},
		{"update", func(ctx context.Context) error {
			_, err := members.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 7,
				PeerURLs: []string{"http://127.0.0.1:1"}})
			return err
		}},
		{"promote", func(ctx context.Context) error {
			_, err := members.MemberPromote(ctx,
				&pb.MemberPromoteRequest{ID: 7})
			return err
		}},
		{"move leader", func(ctx context.Context) error {
			_, err := upkeep.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 7})
			return err
		}},
		{"downgrade", func(ctx context.Context) error {
			_, err := upkeep.Downgrade(ctx, &pb.DowngradeRequest{
				Action:  pb.DowngradeRequest_VALIDATE,
				Version: "1.0.0"})
			return err
		}},
	}
	for _, who := range []string{"nobody", "stranger", "user", "root"} {
		for _, call := range calls {
			if call.name == "add, bad URL" && who != "root" {
				continue
			}
			err := call.do(callers[who])
			answers = append(answers, fmt.Sprintf("%s: %s: %v", who, call.name,
				status.Convert(err)))
		}
	}
	return answers
}

// promoteAsPeer asks as a member does that passes a client's request on.
func (g *guarded) promoteAsPeer() []string {
	return []string{"nobody: " + g.postPromotion(""),
		"stranger: " + g.postPromotion("abc.1"),
		"root: " + g.postPromotion(g.login()),
		"root as bearer: " + g.postPromotion("Bearer "+g.login())}
}

func (g *guarded) postPromotion(token string) string {
	g.t.Helper()
	reply := fetch(g.t, "POST", g.PeerURL+"/members/promote/7",
		"Authorization", token)
	return fmt.Sprintf("%d %s", reply.Status, reply.Body)
}
