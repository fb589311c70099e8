package lockstep

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// normalHeader takes out what two servers can't have in common: the ids and
// the term. Whether they are there at all is kept.
func normalHeader(header *pb.ResponseHeader) {
	if header == nil {
		return
	}
	if header.ClusterId != 0 {
		header.ClusterId = 1
	}
	if header.MemberId != 0 {
		header.MemberId = 1
	}
	if header.RaftTerm != 0 {
		header.RaftTerm = 1
	}
}

// Whether one space or two stand between the fields of a message as text is
// decided when etcd is built.
var memberText = regexp.MustCompile(`memberID:\d+ *`)

// normal brings an answer into the form in which it has to be equal.
func (s *Side) normal(message proto.Message) proto.Message {
	message = proto.Clone(message)
	if with, ok := message.(interface {
		GetHeader() *pb.ResponseHeader
	}); ok {
		normalHeader(with.GetHeader())
	}
	switch m := message.(type) {
	case *pb.RangeStreamResponse:
		normalHeader(m.GetRangeResponse().GetHeader())
	case *pb.LeaseTimeToLiveResponse:
		// The keys come in the order of a hash table.
		slices.SortFunc(m.Keys, bytes.Compare)
		if m.TTL > 0 && m.TTL <= m.GrantedTTL+2 && m.TTL > m.GrantedTTL-300 {
			m.TTL = m.GrantedTTL
		}
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int {
			return compareInt(a.ID, b.ID)
		})
	case *pb.StatusResponse:
		s.normalStatus(m)
	case *pb.AlarmResponse:
		for _, alarm := range m.Alarms {
			if alarm.MemberID == s.self {
				alarm.MemberID = ownMember
			}
		}
	case *pb.HashResponse:
		m.Hash = 0
	case *pb.MemberListResponse:
		for _, member := range m.Members {
			member.ID = sameID(member.ID, s.self)
			member.ClientURLs = shapes(member.ClientURLs)
			member.PeerURLs = shapes(member.PeerURLs)
		}
	}
	return message
}

func (s *Side) normalStatus(m *pb.StatusResponse) {
	m.Version = strings.Join(strings.SplitN(m.Version, ".", 3)[:2], ".")
	m.Leader = sameID(m.Leader, s.leader)
	m.DbSize, m.DbSizeInUse = sign(m.DbSize), sign(m.DbSizeInUse)
	m.RaftIndex, m.RaftAppliedIndex = min(m.RaftIndex, 1),
		min(m.RaftAppliedIndex, 1)
	m.RaftTerm = min(m.RaftTerm, 1)
	for i := range m.Errors {
		m.Errors[i] = memberText.ReplaceAllString(m.Errors[i], "memberID:N ")
	}
	slices.Sort(m.Errors)
}

func sameID(id, self uint64) uint64 {
	if id == self {
		return ownMember
	}
	return id
}

func shapes(urls []string) []string {
	shape := make([]string, len(urls))
	for i := range urls {
		shape[i], _, _ = strings.Cut(urls[i], "://")
	}
	return shape
}

func sign(n int64) int64 { return int64(compareInt(n, 0)) }

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// difference compares two answers to one request; "" means equal.
func difference(request proto.Message, a, b *Side, x, y Answer) string {
	if x.Code != y.Code || x.Text != y.Text {
		return "the status differs"
	}
	if len(x.Messages) != len(y.Messages) {
		return "the number of messages differs"
	}
	for i := range x.Messages {
		m, n := a.normal(x.Messages[i]), b.normal(y.Messages[i])
		if proto.Equal(m, n) {
			continue
		}
		loosenTies(request, m)
		loosenTies(request, n)
		if !proto.Equal(m, n) {
			return "the answers differ: " + firstDifference(m, n)
		}
	}
	return ""
}

// loosenTies puts the keys of sorted ranges whose sort fields are equal into
// one order: etcd's own order among them is arbitrary.
func loosenTies(request, reply proto.Message) {
	switch r := request.(type) {
	case *pb.RangeRequest:
		if m, ok := reply.(*pb.RangeResponse); ok {
			loosenRange(r, m)
		}
	case *pb.TxnRequest:
		if m, ok := reply.(*pb.TxnResponse); ok {
			loosenTxn(r, m)
		}
	}
}

func loosenTxn(request *pb.TxnRequest, reply *pb.TxnResponse) {
	ops := request.Failure
	if reply.Succeeded {
		ops = request.Success
	}
	if len(ops) != len(reply.Responses) {
		return
	}
	for i, op := range ops {
		if r := op.GetRequestRange(); r != nil {
			if m := reply.Responses[i].GetResponseRange(); m != nil {
				loosenRange(r, m)
			}
		}
		if r := op.GetRequestTxn(); r != nil {
			if m := reply.Responses[i].GetResponseTxn(); m != nil {
				loosenTxn(r, m)
			}
		}
	}
}

func loosenRange(request *pb.RangeRequest, reply *pb.RangeResponse) {
	field := sortField(request.SortTarget)
	if field == nil {
		return
	}
	kvs := reply.Kvs
	for start := 0; start < len(kvs); {
		end := start + 1
		for end < len(kvs) && field(kvs[start]) == field(kvs[end]) {
			end++
		}
		group := kvs[start:end]
		slices.SortFunc(group, func(a, b *mvccpb.KeyValue) int {
			return bytes.Compare(a.Key, b.Key)
		})
		// Which of several equal ones fall behind the limit is open too.
		if reply.More && end == len(kvs) {
			for i := range group {
				kvs[start+i] = &mvccpb.KeyValue{Key: []byte("(any of a tie)"),
					Value: []byte(field(group[i]))}
			}
		}
		start = end
	}
}

func sortField(target pb.RangeRequest_SortTarget) func(*mvccpb.KeyValue) string {
	switch target {
	case pb.RangeRequest_VERSION:
		return func(kv *mvccpb.KeyValue) string { return fmt.Sprint(kv.Version) }
	case pb.RangeRequest_CREATE:
		return func(kv *mvccpb.KeyValue) string {
			return fmt.Sprint(kv.CreateRevision)
		}
	case pb.RangeRequest_MOD:
		return func(kv *mvccpb.KeyValue) string {
			return fmt.Sprint(kv.ModRevision)
		}
	case pb.RangeRequest_VALUE:
		return func(kv *mvccpb.KeyValue) string { return string(kv.Value) }
	}
	return nil
}

// Show prints a message on one line, long byte strings cut short.
func Show(message proto.Message) string {
	text := prototext.MarshalOptions{Multiline: false}.Format(message)
	return fmt.Sprintf("%T{%s}", message, shorten(text))
}

var longString = regexp.MustCompile(`"(?:[^"\\]|\\.){160,}"`)

func shorten(text string) string {
	text = longString.ReplaceAllStringFunc(text, func(s string) string {
		return fmt.Sprintf(`%s..."(%d characters)`, s[:40], len(s))
	})
	if len(text) > 3000 {
		text = fmt.Sprintf("%s...(%d more)", text[:3000], len(text)-3000)
	}
	return text
}

// String shows an answer in full, for the report of a difference.
func (a Answer) String() string {
	lines := []string{a.Code}
	if a.Text != "" {
		lines[0] += ": " + shorten(a.Text)
	}
	for _, m := range a.Messages {
		lines = append(lines, Show(m))
	}
	return strings.Join(lines, "\n    ")
}

// firstDifference shows the text around the first byte that differs.
func firstDifference(m, n proto.Message) string {
	options := prototext.MarshalOptions{Multiline: true}
	x := strings.Split(options.Format(m), "\n")
	y := strings.Split(options.Format(n), "\n")
	for i := 0; i < len(x) && i < len(y); i++ {
		// The text form varies its spaces between two runs of a binary only.
		if x[i] != y[i] {
			return fmt.Sprintf("line %d is %q against %q", i+1,
				shorten(strings.TrimSpace(x[i])),
				shorten(strings.TrimSpace(y[i])))
		}
	}
	return fmt.Sprintf("%d lines against %d", len(x), len(y))
}
