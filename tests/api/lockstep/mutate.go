package lockstep

import (
	"context"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Mutator falsifies one side's answers, to prove that the comparison sees it.
type Mutator struct {
	// What to falsify: header, value, drop-kv, count, error-text, error-code,
	// drop-event, swap-events, event-value, hash.
	What string
	// Falsify the nth answer that offers the chance, counted from 1.
	Nth int

	mu   sync.Mutex
	seen int
	Hits int
}

// Mutations are all that a mutator can do.
var Mutations = []string{"header", "value", "drop-kv", "count", "error-text",
	"error-code", "drop-event", "swap-events", "event-value", "hash"}

// due counts a chance and says whether it is the one to take.
func (m *Mutator) due() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen++
	if m.seen != m.Nth {
		return false
	}
	m.Hits++
	return true
}

func (m *Mutator) unary(ctx context.Context, method string, req, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	if err != nil {
		return m.failure(err)
	}
	m.reply(reply)
	return nil
}

func (m *Mutator) failure(err error) error {
	st := status.Convert(err)
	switch m.What {
	case "error-text":
		if m.due() {
			return status.Error(st.Code(), strings.TrimPrefix(st.Message(),
				"etcdserver: "))
		}
	case "error-code":
		if m.due() {
			return status.Error(2, st.Message())
		}
	}
	return err
}

func (m *Mutator) reply(reply any) {
	switch r := reply.(type) {
	case *pb.PutResponse:
		if m.What == "header" && m.due() {
			r.Header.Revision++
		}
	case *pb.RangeResponse:
		switch {
		case m.What == "value" && len(r.Kvs) > 0 &&
			len(r.Kvs[0].Value) > 0 && m.due():
			r.Kvs[0].Value[0] ^= 1
		case m.What == "drop-kv" && len(r.Kvs) > 1 && m.due():
			r.Kvs = r.Kvs[:len(r.Kvs)-1]
		case m.What == "count" && m.due():
			r.Count++
		}
	case *pb.HashKVResponse:
		if m.What == "hash" && m.due() {
			r.Hash ^= 1
		}
	}
}

func (m *Mutator) stream(ctx context.Context, desc *grpc.StreamDesc,
	conn *grpc.ClientConn, method string, open grpc.Streamer,
	opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &mutatedStream{stream, m}, nil
}

type mutatedStream struct {
	grpc.ClientStream
	m *Mutator
}

func (s *mutatedStream) RecvMsg(message any) error {
	if err := s.ClientStream.RecvMsg(message); err != nil {
		return err
	}
	r, ok := message.(*pb.WatchResponse)
	if !ok || len(r.Events) == 0 {
		return nil
	}
	switch {
	case s.m.What == "drop-event" && s.m.due():
		r.Events = r.Events[1:]
	case s.m.What == "swap-events" && len(r.Events) > 1 && s.m.due():
		r.Events[0], r.Events[1] = r.Events[1], r.Events[0]
	case s.m.What == "event-value" && len(r.Events[0].Kv.Value) > 0 &&
		s.m.due():
		r.Events[0].Kv.Value[0] ^= 1
	}
	return nil
}
