package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// revoked is a world in which one reads what another may stop him from reading
// at any time: while the last key has a secret, he may not.
type revoked struct {
	*guarded
	root, reader context.Context
	all          *pb.RangeRequest

	mu      sync.Mutex
	results map[string]int
}

const (
	secretValue = "secret"
	oldRevision = "etcdserver: revision of auth store is old"
)

// TestAuthRevoked has many reads of all kinds under way while permissions come
// and go, and finds that nothing written after a permission was taken away is
// ever shown.
func TestAuthRevoked(t *testing.T) {
	w := newRevoked(t)
	ctx, stop := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop()
	for name, read := range w.reads() {
		for range 2 {
			readers.Go(func() {
				for ctx.Err() == nil {
					w.seen(name, read)
				}
			})
		}
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			// Tokens and passwords come and go as well.
			_, _ = w.auth.Authenticate(timeout(t), &pb.AuthenticateRequest{
				Name: "other", Password: "o"})
			_, _ = w.auth.UserChangePassword(w.root,
				&pb.AuthUserChangePasswordRequest{Name: "other", Password: "o"})
		}
	})
	begin := time.Now()
	rounds := 0
	for ; time.Since(begin) < 2*time.Second; rounds++ {
		w.permit(false)
		w.put(secretValue)
		w.put("open")
		w.permit(true)
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	readers.Wait()
	t.Logf("%d rounds: %v", rounds, w.results)
	for name := range w.reads() {
		if w.results[name+" OK"] == 0 || w.results[name+" refused"] == 0 {
			t.Errorf("%s wasn't both answered and refused", name)
		}
	}
}

func newRevoked(t *testing.T) *revoked {
	t.Helper()
	g := guard(t, "")
	with := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(timeout(t), "token", token)
	}
	w := &revoked{guarded: g, root: with(g.login()),
		all:     &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")},
		results: map[string]int{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Enough for a read that a worker does.
	for first := 0; first < 2500; first += 100 {
		txn := &pb.TxnRequest{}
		for i := range 100 {
			txn.Success = append(txn.Success, &pb.RequestOp{
				Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
					Key: fmt.Appendf(nil, "k/%04d", first+i)}}})
		}
		_, err := g.kv.Txn(w.root, txn)
		must(err)
	}
	w.put("open")
	for _, name := range []string{"reader", "other"} {
		_, err := g.auth.UserAdd(w.root, &pb.AuthUserAddRequest{Name: name,
			Password: "o"})
		must(err)
	}
	_, err := g.auth.RoleAdd(w.root, &pb.AuthRoleAddRequest{Name: "r"})
	must(err)
	_, err = g.auth.UserGrantRole(w.root, &pb.AuthUserGrantRoleRequest{
		User: "reader", Role: "r"})
	must(err)
	w.permit(true)
	reply, err := g.auth.Authenticate(timeout(t), &pb.AuthenticateRequest{
		Name: "reader", Password: "o"})
	must(err)
	w.reader = with(reply.Token)
	return w
}

func (w *revoked) put(value string) {
	w.t.Helper()
	w.must(func() error {
		_, err := w.kv.Put(w.root, &pb.PutRequest{Key: []byte("k/last"),
			Value: []byte(value)})
		return err
	})
}

// must does what root does until no other change comes between.
func (w *revoked) must(do func() error) {
	w.t.Helper()
	for {
		err := do()
		if err == nil {
			return
		}
		if status.Convert(err).Message() != oldRevision {
			w.t.Fatal(err)
		}
	}
}

func (w *revoked) permit(yes bool) {
	w.t.Helper()
	w.must(func() (err error) {
		if yes {
			_, err = w.auth.RoleGrantPermission(w.root,
				&pb.AuthRoleGrantPermissionRequest{Name: "r",
					Perm: &authpb.Permission{Key: w.all.Key,
						RangeEnd: w.all.RangeEnd}})
		} else {
			_, err = w.auth.RoleRevokePermission(w.root,
				&pb.AuthRoleRevokePermissionRequest{Role: "r",
					Key: w.all.Key, RangeEnd: w.all.RangeEnd})
		}
		return err
	})
}

func (w *revoked) reads() map[string]func() (bool, error) {
	shows := func(reply *pb.RangeResponse) bool {
		kvs := reply.GetKvs()
		return len(kvs) > 0 && bytes.Equal(kvs[len(kvs)-1].Value,
			[]byte(secretValue))
	}
	ranges := func(key, end string, serializable bool) func() (bool, error) {
		return func() (bool, error) {
			reply, err := w.kv.Range(w.reader, &pb.RangeRequest{
				Key: []byte(key), RangeEnd: []byte(end),
				Serializable: serializable})
			return shows(reply), err
		}
	}
	return map[string]func() (bool, error){
		"range":              ranges("k/last", "", false),
		"serializable range": ranges("k/last", "", true),
		"wide range":         ranges("k/", "k0", false),
		"transaction": func() (bool, error) {
			reply, err := w.kv.Txn(w.reader, &pb.TxnRequest{
				Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
					RequestRange: &pb.RangeRequest{Key: []byte("k/last")}}}}})
			if err != nil {
				return false, err
			}
			return shows(reply.Responses[0].GetResponseRange()), nil
		},
		"writing transaction": func() (bool, error) {
			reply, err := w.kv.Txn(w.reader, &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: []byte("k/last"),
					Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{
						Value: []byte(secretValue)}}},
				Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{
					RequestTxn: &pb.TxnRequest{}}}}})
			return reply.GetSucceeded(), err
		},
		"stream": func() (bool, error) {
			stream, err := w.kv.RangeStream(w.reader, w.all)
			secret := false
			for err == nil {
				var reply *pb.RangeStreamResponse
				reply, err = stream.Recv()
				secret = secret || shows(reply.GetRangeResponse())
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return secret, err
		},
	}
}

func (w *revoked) seen(name string, read func() (bool, error)) {
	secret, err := read()
	result := ""
	switch message := status.Convert(err).Message(); {
	case err == nil:
		result = "OK"
	case status.Code(err) == codes.PermissionDenied ||
		message == oldRevision:
		result = "refused"
	default:
		w.t.Errorf("%s: %v", name, err)
	}
	if secret {
		w.t.Errorf("the %s shows the secret (%v)", name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[name+" "+result]++
}
