// Package lockstep plays one seeded random sequence of operations into two
// servers at once and compares all that they answer.
package lockstep

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Side is one of the two servers. The generated stubs are used as they are,
// so that bad requests reach the server unfiltered.
type Side struct {
	Name     string
	endpoint string
	mutator  *Mutator
	conn     *grpc.ClientConn
	kv       pb.KVClient
	lease    pb.LeaseClient
	maint    pb.MaintenanceClient
	member   pb.ClusterClient
	auth     pb.AuthClient
	health   healthpb.HealthClient
	// The server's own member id and its leader's, from its first answer.
	self   uint64
	leader uint64

	alive pb.Lease_LeaseKeepAliveClient
}

// Dial connects to host:port. A mutator, if there is one, falsifies some of
// the answers on their way.
func Dial(name, endpoint string, mutator *Mutator) (*Side, error) {
	s := &Side{Name: name, endpoint: endpoint, mutator: mutator}
	if err := s.connect(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Side) connect() error {
	if err := s.dial(); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		s.conn.Close()
		return err
	}
	return nil
}

// dial connects without asking anything: that may need a token.
func (s *Side) dial() error {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(math.MaxInt32),
			grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithDisableRetry(),
	}
	if s.mutator != nil {
		options = append(options,
			grpc.WithUnaryInterceptor(s.mutator.unary),
			grpc.WithStreamInterceptor(s.mutator.stream))
	}
	conn, err := grpc.NewClient("passthrough:///"+s.endpoint, options...)
	if err != nil {
		return err
	}
	s.conn, s.alive = conn, nil
	s.kv = pb.NewKVClient(conn)
	s.lease = pb.NewLeaseClient(conn)
	s.maint = pb.NewMaintenanceClient(conn)
	s.member = pb.NewClusterClient(conn)
	s.auth = pb.NewAuthClient(conn)
	s.health = healthpb.NewHealthClient(conn)
	return nil
}

// settle waits until the server has brought its storage up to its version, as
// a new one does soon after its start.
func (s *Side) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		answer, err := s.maint.Status(ctx, &pb.StatusRequest{})
		if err != nil {
			return fmt.Errorf("status of %s: %w", s.Name, err)
		}
		s.self = answer.GetHeader().GetMemberId()
		s.leader = answer.GetLeader()
		if answer.GetStorageVersion() == "3.7.0" {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Close ends all calls and the connection.
func (s *Side) Close() { s.conn.Close() }

// Answer is what one call gave: messages, or a status, or both for a stream.
type Answer struct {
	Messages []proto.Message
	Code     string
	Text     string
}

func answer(message proto.Message, err error) Answer {
	if err != nil {
		return failure(nil, err)
	}
	return Answer{Messages: []proto.Message{message}, Code: "OK"}
}

func failure(messages []proto.Message, err error) Answer {
	st := status.Convert(err)
	return Answer{messages, st.Code().String(), st.Message()}
}

// call sends one unary request by its full method name.
func call[T proto.Message](ctx context.Context, s *Side, method string,
	request proto.Message, reply T) Answer {
	return answer(reply, s.conn.Invoke(ctx, method, request, reply))
}

func (s *Side) do(ctx context.Context, request proto.Message) Answer {
	switch r := request.(type) {
	case *pb.RangeRequest:
		return call(ctx, s, "/etcdserverpb.KV/Range", r, &pb.RangeResponse{})
	case *pb.PutRequest:
		return call(ctx, s, "/etcdserverpb.KV/Put", r, &pb.PutResponse{})
	case *pb.DeleteRangeRequest:
		return call(ctx, s, "/etcdserverpb.KV/DeleteRange", r,
			&pb.DeleteRangeResponse{})
	case *pb.TxnRequest:
		return call(ctx, s, "/etcdserverpb.KV/Txn", r, &pb.TxnResponse{})
	case *pb.CompactionRequest:
		return call(ctx, s, "/etcdserverpb.KV/Compact", r,
			&pb.CompactionResponse{})
	case *pb.LeaseGrantRequest:
		return call(ctx, s, "/etcdserverpb.Lease/LeaseGrant", r,
			&pb.LeaseGrantResponse{})
	case *pb.LeaseRevokeRequest:
		return call(ctx, s, "/etcdserverpb.Lease/LeaseRevoke", r,
			&pb.LeaseRevokeResponse{})
	case *pb.LeaseTimeToLiveRequest:
		return call(ctx, s, "/etcdserverpb.Lease/LeaseTimeToLive", r,
			&pb.LeaseTimeToLiveResponse{})
	case *pb.LeaseLeasesRequest:
		return call(ctx, s, "/etcdserverpb.Lease/LeaseLeases", r,
			&pb.LeaseLeasesResponse{})
	case *pb.LeaseKeepAliveRequest:
		return s.keepAlive(r)
	case *pb.StatusRequest:
		return answer(s.maint.Status(ctx, r))
	case *pb.AlarmRequest:
		return answer(s.maint.Alarm(ctx, s.ownAlarm(r)))
	case *pb.HashKVRequest:
		return answer(s.maint.HashKV(ctx, r))
	case *pb.HashRequest:
		return answer(s.maint.Hash(ctx, r))
	case *pb.DefragmentRequest:
		return answer(s.maint.Defragment(ctx, r))
	case *pb.MemberListRequest:
		return answer(s.member.MemberList(ctx, r))
	case *pb.AuthEnableRequest:
		return answer(s.auth.AuthEnable(ctx, r))
	case *pb.AuthDisableRequest:
		return answer(s.auth.AuthDisable(ctx, r))
	case *pb.AuthStatusRequest:
		return answer(s.auth.AuthStatus(ctx, r))
	case *pb.AuthenticateRequest:
		return answer(s.auth.Authenticate(ctx, r))
	case *pb.AuthUserAddRequest:
		return answer(s.auth.UserAdd(ctx, r))
	case *pb.AuthUserGetRequest:
		return answer(s.auth.UserGet(ctx, r))
	case *pb.AuthUserListRequest:
		return answer(s.auth.UserList(ctx, r))
	case *pb.AuthUserDeleteRequest:
		return answer(s.auth.UserDelete(ctx, r))
	case *pb.AuthUserChangePasswordRequest:
		return answer(s.auth.UserChangePassword(ctx, r))
	case *pb.AuthUserGrantRoleRequest:
		return answer(s.auth.UserGrantRole(ctx, r))
	case *pb.AuthUserRevokeRoleRequest:
		return answer(s.auth.UserRevokeRole(ctx, r))
	case *pb.AuthRoleAddRequest:
		return answer(s.auth.RoleAdd(ctx, r))
	case *pb.AuthRoleGetRequest:
		return answer(s.auth.RoleGet(ctx, r))
	case *pb.AuthRoleListRequest:
		return answer(s.auth.RoleList(ctx, r))
	case *pb.AuthRoleDeleteRequest:
		return answer(s.auth.RoleDelete(ctx, r))
	case *pb.AuthRoleGrantPermissionRequest:
		return answer(s.auth.RoleGrantPermission(ctx, r))
	case *pb.AuthRoleRevokePermissionRequest:
		return answer(s.auth.RoleRevokePermission(ctx, r))
	case *healthpb.HealthCheckRequest:
		return answer(s.health.Check(ctx, r))
	case *healthpb.HealthListRequest:
		return answer(s.health.List(ctx, r))
	}
	panic(fmt.Sprintf("no call for %T", request))
}

// ownMember stands for the server's own member id in generated requests.
const ownMember = math.MaxUint64

func (s *Side) ownAlarm(request *pb.AlarmRequest) *pb.AlarmRequest {
	if request.MemberID != ownMember {
		return request
	}
	own := proto.Clone(request).(*pb.AlarmRequest)
	own.MemberID = s.self
	return own
}

func (s *Side) rangeStream(ctx context.Context, r *pb.RangeRequest) Answer {
	stream, err := s.kv.RangeStream(ctx, r)
	if err != nil {
		return failure(nil, err)
	}
	var messages []proto.Message
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return Answer{messages, "OK", ""}
		}
		if err != nil {
			return failure(messages, err)
		}
		messages = append(messages, message)
	}
}

// keepAlive sends one request on the side's keep-alive stream, which is
// opened at the first use and stays open.
func (s *Side) keepAlive(request *pb.LeaseKeepAliveRequest) Answer {
	if s.alive == nil {
		stream, err := s.lease.LeaseKeepAlive(context.Background())
		if err != nil {
			return failure(nil, err)
		}
		s.alive = stream
	}
	if err := s.alive.Send(request); err != nil {
		return failure(nil, err)
	}
	return answer(s.alive.Recv())
}
