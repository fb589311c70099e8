package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"chorad.tests/api/harness"
)

// Who calls. The narrow roles are for the keys of narrowKeys: one for both ways,
// one for reading, one for writing. "gone" is a user that has been deleted
// since.
var matrixCallers = []string{"nobody", "forged", "gone", "bare", "narrow",
	"reader", "writer", "root"}

const (
	theEnd = "the end"
	mine   = "narrow/"
	theirs = "other/"
)

// authWorld is one server with users, roles and what they may see or not.
type authWorld struct {
	*guarded
	tokens map[string]string
	lease  int64 // of one key on each side, new before each call
	leader map[string]*v3electionpb.LeaderKey
}

// matrixRow is one request; all callers make it, in their order.
type matrixRow struct {
	method  string // "etcdserverpb.KV/Range"
	what    string
	request func(w *authWorld) proto.Message
	before  func(w *authWorld) // each of the calls
	after   func(w *authWorld)
	// Why a caller's answer differs from etcd's on purpose, by caller.
	differs map[string]string
}

// ---- the servers ----

func newAuthWorld(t *testing.T, binary string) *authWorld {
	t.Helper()
	w := &authWorld{guarded: guard(t, binary), tokens: map[string]string{},
		leader: map[string]*v3electionpb.LeaderKey{}}
	w.loginAll("root")
	for user, kind := range map[string]authpb.Permission_Type{
		"narrow": authpb.READWRITE, "reader": authpb.READ,
		"writer": authpb.WRITE} {
		w.do("Auth/UserAdd", &pb.AuthUserAddRequest{Name: user, Password: "o"})
		w.do("Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: user})
		w.allow(user, kind)
		w.do("Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: user,
			Role: user})
	}
	for _, user := range []string{"bare", "gone", "dummy"} {
		w.do("Auth/UserAdd", &pb.AuthUserAddRequest{Name: user, Password: "o"})
	}
	for _, side := range []string{mine, theirs} {
		w.put(side+"k", "v")
		w.put(side+"led/oldest", "leads")
	}
	w.loginAll("root", "narrow", "reader", "writer", "bare", "gone")
	w.do("Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "gone"})
	w.tokens["forged"] = "made.up"
	return w
}

func (w *authWorld) allow(role string, kind authpb.Permission_Type) {
	w.t.Helper()
	w.do("Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{
		Name: role, Perm: &authpb.Permission{PermType: kind, Key: []byte(mine),
			RangeEnd: []byte("narrow0")}})
}

func (w *authWorld) deny(role string) {
	w.t.Helper()
	w.do("Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{
		Role: role, Key: []byte(mine), RangeEnd: []byte("narrow0")})
}

func (w *authWorld) loginAll(users ...string) {
	w.t.Helper()
	for _, user := range users {
		password := "o"
		if user == "root" {
			password = "r"
		}
		reply, err := w.auth.Authenticate(timeout(w.t),
			&pb.AuthenticateRequest{Name: user, Password: password})
		if err != nil {
			w.t.Fatalf("%s: %s: %v", w.Binary, user, err)
		}
		w.tokens[user] = reply.Token
	}
}

func (w *authWorld) as(caller string, limit time.Duration) (context.Context,
	context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	if token := w.tokens[caller]; token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	return ctx, cancel
}

// do is a unary call of etcdserverpb that root makes and that has to succeed.
func (w *authWorld) do(method string, request proto.Message) proto.Message {
	w.t.Helper()
	reply, err := w.unary("root", "etcdserverpb."+method, request)
	if err != nil {
		w.t.Fatalf("%s: %s: %v", w.Binary, method, err)
	}
	return reply
}

func (w *authWorld) put(key, value string) {
	w.t.Helper()
	w.do("KV/Put", &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

func (w *authWorld) remove(key, end string) {
	w.t.Helper()
	w.do("KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte(key),
		RangeEnd: []byte(end)})
}

// lead puts a fresh leader's key on both sides.
func (w *authWorld) lead() {
	w.t.Helper()
	for _, side := range []string{mine, theirs} {
		key := side + "el/1"
		w.remove(key, "")
		w.put(key, "v")
		reply := w.do("KV/Range", &pb.RangeRequest{
			Key: []byte(key)}).(*pb.RangeResponse)
		w.leader[side] = &v3electionpb.LeaderKey{Name: []byte(side + "el"),
			Key: []byte(key), Rev: reply.Kvs[0].CreateRevision, Lease: w.lease}
	}
}

// bind makes a lease that has a key on each side.
func (w *authWorld) bind() {
	w.t.Helper()
	reply := w.do("Lease/LeaseGrant",
		&pb.LeaseGrantRequest{TTL: 600}).(*pb.LeaseGrantResponse)
	w.lease = reply.ID
	for _, side := range []string{mine, theirs} {
		w.do("KV/Put", &pb.PutRequest{Key: []byte(side + "bound"),
			Lease: w.lease})
	}
}

// free makes a lease without a key.
func (w *authWorld) free() {
	w.t.Helper()
	reply := w.do("Lease/LeaseGrant",
		&pb.LeaseGrantRequest{TTL: 600}).(*pb.LeaseGrantResponse)
	w.lease = reply.ID
}

func (w *authWorld) unlockAll() {
	for _, side := range []string{mine, theirs} {
		w.remove(side+"lock/", side+"lock0")
	}
}

// ---- a call of any method ----

func methodOf(name string) protoreflect.MethodDescriptor {
	service, method, _ := strings.Cut(name, "/")
	for _, file := range matrixFiles {
		if s := file.Services().ByName(protoreflect.FullName(
			service).Name()); s != nil && string(s.FullName()) == service {
			return s.Methods().ByName(protoreflect.Name(method))
		}
	}
	return nil
}

func newReply(method protoreflect.MethodDescriptor) proto.Message {
	kind, err := protoTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return dynamicpb.NewMessage(method.Output())
	}
	return kind.New().Interface()
}

func (w *authWorld) unary(caller, name string, request proto.Message) (
	proto.Message, error) {
	reply := newReply(methodOf(name))
	ctx, cancel := w.as(caller, 20*time.Second)
	defer cancel()
	return reply, w.conn.Invoke(ctx, "/"+name, request, reply)
}

// silence is how long a stream may say nothing before it counts as waiting.
func silence() time.Duration {
	if harness.Sanitized() {
		return time.Second
	}
	return 300 * time.Millisecond
}

// open starts a stream with the request as its first message.
func (w *authWorld) open(ctx context.Context, name string,
	request proto.Message) (grpc.ClientStream, error) {
	method := methodOf(name)
	stream, err := w.conn.NewStream(ctx, &grpc.StreamDesc{
		ServerStreams: true, ClientStreams: method.IsStreamingClient(),
	}, "/"+name)
	if err == nil {
		err = stream.SendMsg(request)
	}
	if err == nil && !method.IsStreamingClient() {
		err = stream.CloseSend()
	}
	return stream, err
}

// play makes the call and puts what came of it into words: of a stream, its
// first message or its end.
func (w *authWorld) play(caller, name string, request proto.Message) string {
	method := methodOf(name)
	if !method.IsStreamingServer() {
		_, err := w.unary(caller, name, request)
		return outcome(nil, err)
	}
	ctx, cancel := w.as(caller, silence())
	defer cancel()
	stream, err := w.open(ctx, name, request)
	if err != nil {
		return outcome(nil, err)
	}
	reply := newReply(method)
	err = stream.RecvMsg(reply)
	return outcome(reply, err)
}

func outcome(reply proto.Message, err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return theEnd
	case status.Code(err) == codes.DeadlineExceeded:
		return "waits"
	case err != nil:
		return fmt.Sprintf("%v %q", status.Code(err),
			status.Convert(err).Message())
	}
	if watch, ok := reply.(*pb.WatchResponse); ok && watch.Canceled {
		return fmt.Sprintf("canceled %q", watch.CancelReason)
	}
	return "OK"
}

// ---- all methods ----

var matrixFiles = []protoreflect.FileDescriptor{pb.File_rpc_proto,
	v3lockpb.File_v3lock_proto, v3electionpb.File_v3election_proto,
	healthpb.File_grpc_health_v1_health_proto}

var (
	protoPackage = regexp.MustCompile(`(?m)^package ([\w.]+);`)
	protoService = regexp.MustCompile(`(?ms)^service (\w+) \{(.*?)^\}`)
	protoMethod  = regexp.MustCompile(`(?m)^\s*rpc (\w+)\s*\(`)
)

// everyMethod lists those of etcd's interface and of this tree's.
func everyMethod(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, file := range matrixFiles {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for k := range s.Methods().Len() {
				all = append(all, fmt.Sprintf("%s/%s", s.FullName(),
					s.Methods().Get(k).Name()))
			}
		}
	}
	paths, err := filepath.Glob(filepath.Join(harness.Root(), "proto",
		"*.proto"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no proto files: %v", err)
	}
	own := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range protoService.FindAllSubmatch(text, -1) {
			for _, m := range protoMethod.FindAllSubmatch(s[2], -1) {
				own++
				all = append(all, fmt.Sprintf("%s.%s/%s",
					protoPackage.FindSubmatch(text)[1], s[1], m[1]))
			}
		}
	}
	if own < 50 {
		t.Fatalf("only %d methods were found in proto/", own)
	}
	sort.Strings(all)
	return slices.Compact(all)
}

// TestAuthMatrix has every method of every service called by everybody, with
// auth on, and finds the answers to be etcd's. A method without a row fails.
func TestAuthMatrix(t *testing.T) {
	rows := matrixRows()
	for _, method := range everyMethod(t) {
		if !slices.ContainsFunc(rows, func(r matrixRow) bool {
			return r.method == method
		}) {
			t.Errorf("%s has no row: who may call it?", method)
		}
	}
	got, want := onBoth(t, func(w *authWorld) []string {
		var said []string
		for _, row := range rows {
			for _, caller := range matrixCallers {
				said = append(said, row.play(w, caller))
			}
		}
		return said
	})
	for i := range min(len(got), len(want)) {
		row := rows[i/len(matrixCallers)]
		caller := matrixCallers[i%len(matrixCallers)]
		name := fmt.Sprintf("%s, %s, by %s", row.method, row.what, caller)
		switch reason := row.differs[caller]; {
		case reason == "" && got[i] != want[i]:
			t.Errorf("%s: %s, etcd: %s", name, got[i], want[i])
		case reason != "" && got[i] == want[i]:
			t.Errorf("%s: %s, as etcd: no longer %q", name, got[i], reason)
		}
	}
	t.Logf("%d calls", len(got))
}

// onBoth has the same played to a fresh chorad and to a fresh etcd, and gives
// what each has said.
func onBoth(t *testing.T, play func(w *authWorld) []string) (got,
	want []string) {
	t.Helper()
	t.Run("servers", func(t *testing.T) {
		eachServer(t, func(t *testing.T, binary string) {
			w := newAuthWorld(t, binary)
			said := play(w)
			if w.IsChorad() {
				got = said
			} else {
				want = said
			}
		})
	})
	if len(got) == 0 || len(got) != len(want) {
		t.Fatalf("%d answers, %d of etcd's", len(got), len(want))
	}
	return got, want
}

func (row matrixRow) play(w *authWorld, caller string) string {
	w.t.Helper()
	if methodOf(row.method) == nil {
		w.t.Fatalf("%s isn't described", row.method)
	}
	if row.before != nil {
		row.before(w)
	}
	said := w.play(caller, row.method, row.request(w))
	if row.after != nil {
		row.after(w)
	}
	return said
}
