package api

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"chorad.tests/api/harness"
)

// guarded is a server with users, spoken to through the bare stubs.
type guarded struct {
	t *testing.T
	*harness.Server
	conn *grpc.ClientConn
	auth pb.AuthClient
	kv   pb.KVClient
}

func dialGuarded(t *testing.T, s *harness.Server) *guarded {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.Endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &guarded{t, s, conn, pb.NewAuthClient(conn), pb.NewKVClient(conn)}
}

// guard starts a server with root (password "r") and auth on.
func guard(t *testing.T, binary string, args ...string) *guarded {
	t.Helper()
	g := dialGuarded(t, harness.Start(t, harness.Options{Binary: binary,
		Args: append(args, "--bcrypt-cost", "4")}))
	ctx := timeout(t)
	_, err := g.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "root",
		Password: "r"})
	if err == nil {
		_, err = g.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{
			User: "root", Role: "root"})
	}
	if err == nil {
		_, err = g.auth.AuthEnable(ctx, &pb.AuthEnableRequest{})
	}
	if err != nil {
		t.Fatalf("%s: %v", g.Binary, err)
	}
	return g
}

func (g *guarded) login() string {
	g.t.Helper()
	reply, err := g.auth.Authenticate(timeout(g.t), &pb.AuthenticateRequest{
		Name: "root", Password: "r"})
	if err != nil {
		g.t.Fatalf("%s: %v", g.Binary, err)
	}
	return reply.Token
}

// get reads a key with the token and gives the error.
func (g *guarded) get(token string) error {
	g.t.Helper()
	ctx := metadata.AppendToOutgoingContext(timeout(g.t), "token", token)
	_, err := g.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	return err
}

// eachServer runs the test against the server under test and the real etcd.
func eachServer(t *testing.T, run func(t *testing.T, binary string)) {
	t.Run("tested", func(t *testing.T) {
		t.Parallel()
		run(t, harness.Chorad(t))
	})
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		run(t, harness.Tool(t, "etcd"))
	})
}

const badToken = "etcdserver: invalid auth token"

func wantBadToken(t *testing.T, what string, err error) {
	t.Helper()
	if status.Code(err) != codes.Unauthenticated ||
		status.Convert(err).Message() != badToken {
		t.Errorf("%s: %v", what, err)
	}
}

// TestAuthTokens looks at single properties of tokens.
func TestAuthTokens(t *testing.T) {
	t.Run("number", func(t *testing.T) { eachServer(t, testTokenNumber) })
	t.Run("time", func(t *testing.T) { eachServer(t, testTokenTime) })
	t.Run("restart", func(t *testing.T) { eachServer(t, testTokenRestart) })
	t.Run("not applied yet", testTokenPending)
	t.Run("many passwords", testManyPasswords)
}

// testTokenNumber: the number in a token is that of the entry before.
func testTokenNumber(t *testing.T, binary string) {
	g := guard(t, binary)
	token := g.login()
	ctx := metadata.AppendToOutgoingContext(timeout(t), "token", token)
	reply, err := pb.NewMaintenanceClient(g.conn).Status(ctx,
		&pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, number, _ := strings.Cut(token, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n+1 != reply.RaftIndex {
		t.Errorf("the token is %q, the index of its entry %d", token,
			reply.RaftIndex)
	}
}

// testTokenTime: a token lives on while it is used.
func testTokenTime(t *testing.T, binary string) {
	g := guard(t, binary, "--auth-token-ttl", "2")
	used, left := g.login(), g.login()
	for range 6 {
		time.Sleep(600 * time.Millisecond)
		if err := g.get(used); err != nil {
			t.Fatal(err)
		}
	}
	wantBadToken(t, "a token that wasn't used", g.get(left))
	time.Sleep(3300 * time.Millisecond)
	wantBadToken(t, "a token that isn't used any more", g.get(used))
}

func testTokenRestart(t *testing.T, binary string) {
	g := guard(t, binary)
	token := g.login()
	// What isn't in the data file yet is applied again, tokens included.
	ctx := metadata.AppendToOutgoingContext(timeout(t), "token", token)
	if _, err := g.kv.Put(ctx, &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	g.Kill()
	g.Restart(t)
	// The connection comes back by itself.
	if !harness.Eventually(10*time.Second, func() bool {
		return status.Code(g.get(token)) != codes.Unavailable
	}) {
		t.Fatal("no connection after the restart")
	}
	wantBadToken(t, "after a restart", g.get(token))
	if err := g.get(g.login()); err != nil {
		t.Error(err)
	}
}

// testTokenPending: whoever shows a token whose entry isn't applied yet waits
// for that, but not for ever. etcd would wait as long as the client does.
func testTokenPending(t *testing.T) {
	g := guard(t, "")
	if !g.IsChorad() {
		t.Skip("about chorad")
	}
	token := g.login()
	begin := time.Now()
	wantBadToken(t, "a number far away", g.get("forged.999999999"))
	if took := time.Since(begin); took < 500*time.Millisecond ||
		took > 5*time.Second {
		t.Errorf("refused after %v", took)
	}
	_, number, _ := strings.Cut(token, ".")
	n, _ := strconv.ParseUint(number, 10, 64)
	refused := make(chan time.Duration)
	go func() {
		begin := time.Now()
		_ = g.get(fmt.Sprint("forged.", n+5))
		refused <- time.Since(begin)
	}()
	time.Sleep(100 * time.Millisecond)
	ctx := metadata.AppendToOutgoingContext(timeout(t), "token", token)
	for range 10 {
		_, err := g.kv.Put(ctx, &pb.PutRequest{Key: []byte("k")})
		if err != nil {
			t.Fatal(err)
		}
	}
	if took := <-refused; took > 700*time.Millisecond {
		t.Errorf("refused only %v after the call", took)
	}
	if err := g.get(token); err != nil {
		t.Error(err)
	}
}

// testManyPasswords: while far more passwords wait to be checked than there are
// processors, everybody else is served, and a stop doesn't wait for them.
func testManyPasswords(t *testing.T) {
	g := guard(t, "")
	if !g.IsChorad() {
		t.Skip("about chorad")
	}
	token := g.login()
	g.SetArgs("--bcrypt-cost", "14")
	ctx := metadata.AppendToOutgoingContext(timeout(t), "token", token)
	if _, err := g.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	g.Restart(t)
	g = dialGuarded(t, g.Server)
	token = g.login()
	ctx = metadata.AppendToOutgoingContext(timeout(t), "token", token)
	var waiting sync.WaitGroup
	var mu sync.Mutex
	ended := map[codes.Code]int{}
	for i := range 60 {
		waiting.Go(func() {
			_, err := g.auth.UserAdd(ctx, &pb.AuthUserAddRequest{
				Name: fmt.Sprint("u", i), Password: "p"})
			mu.Lock()
			ended[status.Code(err)]++
			mu.Unlock()
		})
	}
	time.Sleep(300 * time.Millisecond)
	slowest, void := time.Duration(0), 0
	for range 200 {
		begin := time.Now()
		_, err := g.kv.Put(ctx, &pb.PutRequest{Key: []byte("k")})
		// A user added between the put's check and its turn makes it void.
		if status.Convert(err).Message() == oldRevision {
			void++
		} else if err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(begin))
	}
	t.Logf("the slowest put took %v", slowest)
	if void > 60 {
		t.Errorf("%d puts were void for at most 60 new users", void)
	}
	if limit := time.Duration(harness.Slack()) * 300 * time.Millisecond; slowest > limit {
		t.Errorf("a put took %v", slowest)
	}
	took, err := g.Stop(syscall.SIGTERM, 20*time.Second)
	if err != nil || took > time.Duration(harness.Slack())*2*time.Second {
		t.Errorf("the stop took %v: %v", took, err)
	}
	waiting.Wait()
	t.Logf("they ended with %v", ended)
	if ended[codes.Unavailable] == 0 {
		t.Error("nobody waited any more at the stop")
	}
}

// ---- signed tokens ----

func pkcs8(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "PRIVATE KEY", der)
}

func public(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "PUBLIC KEY", der)
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func secret(t *testing.T) string {
	t.Helper()
	path := filepath.Join(harness.TempDir(t), "secret")
	if err := os.WriteFile(path, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAuthSigned has tokens signed by one server and shown to the other.
func TestAuthSigned(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa := rsaKey(t)
	for method, key := range map[string]string{
		"RS256": rsa, "PS384": rsa,
		"ES256": pkcs8(t, ecKey(t, elliptic.P256())),
		"ES512": pkcs8(t, ecKey(t, elliptic.P521())),
		"EdDSA": pkcs8(t, ed), "HS384": secret(t),
	} {
		t.Run(method, func(t *testing.T) {
			args := []string{"--auth-token", fmt.Sprintf(
				"jwt,sign-method=%s,ttl=10m,priv-key=%s", method, key)}
			a := guard(t, "", args...)
			b := guard(t, harness.Tool(t, "etcd"), args...)
			for _, token := range []string{a.login(), b.login()} {
				for _, g := range []*guarded{a, b} {
					if err := g.get(token); err != nil {
						t.Errorf("%s with %s: %v", g.Binary, token, err)
					}
				}
				last := len(token) - 5
				forged := token[:last] + "AAAAA"
				wantBadToken(t, a.Binary, a.get(forged))
				wantBadToken(t, b.Binary, b.get(forged))
			}
			a.Kill()
			b.Kill()
		})
	}
	t.Run("public key only", testVerifyOnly)
	t.Run("time", func(t *testing.T) { eachServer(t, testSignedTime) })
	t.Run("settings", testTokenSettings)
}

// testVerifyOnly: a member with the public key takes tokens and gives none.
func testVerifyOnly(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	signer := guard(t, harness.Tool(t, "etcd"), "--auth-token",
		"jwt,sign-method=ES256,priv-key="+pkcs8(t, key))
	token := signer.login()
	eachServer(t, func(t *testing.T, binary string) {
		g := guard(t, binary, "--auth-token",
			"jwt,sign-method=ES256,pub-key="+public(t, key))
		if err := g.get(token); err != nil {
			t.Error(err)
		}
		_, err := g.auth.Authenticate(timeout(t), &pb.AuthenticateRequest{
			Name: "root", Password: "r"})
		if status.Code(err) != codes.Unknown || status.Convert(err).Message() !=
			"auth: token signing attempted with verify-only key" {
			t.Error(err)
		}
	})
}

func testSignedTime(t *testing.T, binary string) {
	g := guard(t, binary, "--auth-token",
		"jwt,sign-method=HS256,ttl=2s,priv-key="+secret(t))
	token := g.login()
	if err := g.get(token); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond)
	wantBadToken(t, "after two seconds", g.get(token))
	// A restart takes nothing from a signed token.
	token = g.login()
	g.Kill()
	g.Restart(t)
	if !harness.Eventually(1500*time.Millisecond, func() bool {
		return g.get(token) == nil
	}) {
		t.Errorf("after a restart: %v", g.get(token))
	}
}

// testTokenSettings: what can't be is refused at the start, by both.
func testTokenSettings(t *testing.T) {
	for _, value := range []string{"bogus", "jwt", "jwt,sign-method=none",
		"jwt,sign-method=RS256", "jwt,sign-method", "jwt,sign-method=HS256",
		"jwt,sign-method=HS256,priv-key=/nowhere",
		"jwt,sign-method=HS256,ttl=x,priv-key=" + secret(t),
		"jwt,sign-method=ES256,priv-key=" + rsaKey(t)} {
		eachServer(t, func(t *testing.T, binary string) {
			s := harness.New(t, harness.Options{Binary: binary,
				Args: []string{"--auth-token", value}})
			if err := s.Launch(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.Exited():
			case <-time.After(10 * time.Second):
				t.Fatalf("%q: it runs", value)
			}
			var exit *exec.ExitError
			if !errors.As(s.ExitError(), &exit) || exit.ExitCode() != 1 {
				t.Errorf("%q: %v", value, s.ExitError())
			}
			if s.IsChorad() && !strings.Contains(s.Log(), "--auth-token") {
				t.Errorf("%q: it says\n%s", value, s.Log())
			}
		})
	}
}

// ---- what is kept ----

// TestAuthKept: users, roles and auth itself are there after every kind of end,
// and etcd goes on with them from a snapshot: it takes the passwords that were
// hashed here.
func TestAuthKept(t *testing.T) {
	g := guard(t, "")
	token := g.login()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "token",
		token)
	steps := []func() error{
		func() error {
			_, err := g.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "u",
				Password: "pässwörd"})
			return err
		},
		func() error {
			_, err := g.auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "r"})
			return err
		},
		func() error {
			_, err := g.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{
				User: "u", Role: "r"})
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	before := g.everything(token)
	g.Kill()
	g.Restart(t)
	g = dialGuarded(t, g.Server)
	if after := g.everything(g.login()); after != before {
		t.Errorf("after kill -9:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := g.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	g.Restart(t)
	g = dialGuarded(t, g.Server)
	if after := g.everything(g.login()); after != before {
		t.Errorf("after a stop:\n%s\nbefore:\n%s", after, before)
	}

	path := filepath.Join(harness.TempDir(t), "snapshot.db")
	r := harness.Command(t, time.Minute, "", nil, harness.Tool(t, "etcdctl"),
		"--endpoints", g.Endpoint, "--user", "root:r", "snapshot", "save", path)
	if r.Code != 0 {
		t.Fatalf("%s%s", r.Stdout, r.Stderr)
	}
	restored := harness.New(t, harness.Options{
		Binary: harness.Tool(t, "etcd")})
	r = harness.Command(t, time.Minute, "", nil, harness.Tool(t, "etcdutl"),
		"snapshot", "restore", path, "--name", "default", "--data-dir",
		restored.DataDir, "--initial-cluster", "default="+restored.PeerURL,
		"--initial-advertise-peer-urls", restored.PeerURL)
	if r.Code != 0 {
		t.Fatalf("%s%s", r.Stdout, r.Stderr)
	}
	restored.Restart(t)
	e := dialGuarded(t, restored)
	if after := e.everything(e.login()); after != before {
		t.Errorf("in etcd:\n%s\nbefore:\n%s", after, before)
	}
	_, err := e.auth.Authenticate(timeout(t), &pb.AuthenticateRequest{
		Name: "u", Password: "pässwörd"})
	if err != nil {
		t.Errorf("etcd doesn't take the password: %v", err)
	}
}

// everything is all that can be seen of users and roles.
func (g *guarded) everything(token string) string {
	g.t.Helper()
	ctx := metadata.AppendToOutgoingContext(timeout(g.t), "token", token)
	state, err := g.auth.AuthStatus(ctx, &pb.AuthStatusRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	out := []string{fmt.Sprint(state.Enabled, state.AuthRevision)}
	users, err := g.auth.UserList(ctx, &pb.AuthUserListRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, user := range users.Users {
		reply, err := g.auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: user})
		out = append(out, fmt.Sprint(user, reply.GetRoles(), err))
	}
	roles, err := g.auth.RoleList(ctx, &pb.AuthRoleListRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, role := range roles.Roles {
		reply, err := g.auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: role})
		out = append(out, fmt.Sprint(role, reply.GetPerm(), err))
	}
	return strings.Join(out, "\n")
}
