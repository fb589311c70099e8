package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"chorad.tests/api/harness"
)

// visit asks one member of a cluster for everything that members serve, and
// writes down the answers in a form that any other member's can be compared
// with: revisions count from the visit's begin, members go by their names. It
// leaves nothing behind.
type visit struct {
	t       *testing.T
	cluster *harness.Cluster
	at      *harness.Server
	other   *harness.Server // sees what is written at the member
	conn    *grpc.ClientConn
	there   *grpc.ClientConn
	self    *pb.ResponseHeader
	base    map[string]int64 // revisions at the begin, by their field
	lines   []string
}

// everyRPC visits each member and wants the same answers of all.
func everyRPC(t *testing.T, cluster *harness.Cluster) {
	t.Helper()
	var first *visit
	for i, s := range cluster.Members {
		v := newVisit(t, cluster, s,
			cluster.Members[(i+1)%len(cluster.Members)])
		v.keys()
		v.watches()
		v.leases()
		v.members()
		v.alarms()
		v.maintenance()
		v.locks()
		v.auth()
		v.pages()
		sameHashes(t, cluster)
		if first == nil {
			first = v
		} else {
			v.compare(first)
		}
	}
	t.Logf("%d answers of each are the same", len(first.lines))
}

func newVisit(t *testing.T, cluster *harness.Cluster,
	at, other *harness.Server) *visit {
	t.Helper()
	v := &visit{t: t, cluster: cluster, at: at, other: other,
		conn: plain(t, at), there: plain(t, other)}
	got, err := pb.NewKVClient(v.conn).Range(timeout(t),
		&pb.RangeRequest{Key: []byte("x")})
	if err != nil {
		t.Fatalf("at %s: %v", kind(at), err)
	}
	v.self = got.Header
	auth, err := pb.NewAuthClient(v.conn).AuthStatus(timeout(t),
		&pb.AuthStatusRequest{})
	if err != nil {
		t.Fatalf("at %s: %v", kind(at), err)
	}
	v.base = map[string]int64{"authRevision": int64(auth.AuthRevision)}
	for _, name := range []protoreflect.Name{"revision", "create_revision",
		"mod_revision", "compact_revision", "rev"} {
		v.base[string(name)] = got.Header.Revision
	}
	return v
}

func (v *visit) compare(with *visit) {
	v.t.Helper()
	for i := range max(len(v.lines), len(with.lines)) {
		x, y := "nothing", "nothing"
		if i < len(v.lines) {
			x = v.lines[i]
		}
		if i < len(with.lines) {
			y = with.lines[i]
		}
		if x != y {
			v.t.Errorf("answer %d of %s:\n  %.600s\nand of %s:\n  %.600s", i,
				kind(v.at), x, kind(with.at), y)
		}
	}
}

func (v *visit) say(format string, args ...any) {
	v.lines = append(v.lines, fmt.Sprintf(format, args...))
}

// note writes an answer down. Its header has to be of this member.
func (v *visit) note(what string, message proto.Message, err error) {
	v.t.Helper()
	if err != nil {
		s := status.Convert(err)
		v.say("%s: %v: %s", what, s.Code(), v.anonymous(s.Message()))
		return
	}
	if with, ok := message.(interface {
		GetHeader() *pb.ResponseHeader
	}); ok && with.GetHeader() != nil {
		v.checkHeader(what, with.GetHeader())
	}
	copied := proto.Clone(message)
	v.relate(copied.ProtoReflect())
	data, _ := json.Marshal(copied)
	v.say("%s: %s", what, v.anonymous(string(data)))
}

func (v *visit) checkHeader(what string, h *pb.ResponseHeader) {
	v.t.Helper()
	if h.GetClusterId() != v.self.ClusterId ||
		h.GetMemberId() != v.self.MemberId ||
		h.GetRaftTerm() != v.self.RaftTerm && h.GetRaftTerm() != 0 {
		v.t.Errorf("%s: %s: header %v, before %v", kind(v.at), what, h, v.self)
	}
}

// relate lets revisions count from the visit's begin, and forgets ids.
func (v *visit) relate(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, value protoreflect.Value,
	) bool {
		switch base, known := v.base[string(f.Name())]; {
		case f.Name() == "member_id" || f.Name() == "cluster_id" ||
			f.Name() == "raft_term":
			m.Clear(f)
		case f.IsList() && f.Message() != nil:
			for i := range value.List().Len() {
				v.relate(value.List().Get(i).Message())
			}
		case f.Message() != nil && !f.IsMap():
			v.relate(value.Message())
		case known && f.Kind() == protoreflect.Int64Kind:
			m.Set(f, protoreflect.ValueOfInt64(value.Int()-base))
		case known && f.Kind() == protoreflect.Uint64Kind:
			m.Set(f, protoreflect.ValueOfUint64(value.Uint()-uint64(base)))
		}
		return true
	})
}

var ownIDs = regexp.MustCompile(`\b([0-9a-f]{13,16}|[0-9]{15,20})\b`)

func (v *visit) anonymous(text string) string {
	text = strings.ReplaceAll(text, v.at.PeerURL, "peer-URL")
	text = strings.ReplaceAll(text, v.at.ClientURL, "client-URL")
	return ownIDs.ReplaceAllString(text, "ID")
}
