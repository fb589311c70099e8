package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"chorad.tests/api/harness"
)

var falseSecondsFlag = flag.Int("false-seconds", 15,
	"how long TestFalsePeer's false members talk")

// raft's message types, as on the wire.
const (
	msgHup = iota
	msgBeat
	msgProp
	msgApp
	msgAppResp
	msgVote
	msgVoteResp
	msgSnap
	msgHeartbeat
	msgHeartbeatResp
	msgUnreachable
	msgSnapStatus
	msgCheckQuorum
	msgTransferLeader
	msgTimeoutNow
	msgReadIndex
	msgReadIndexResp
	msgPreVote
	msgPreVoteResp
	msgStorageAppend
	msgStorageAppendResp
	msgStorageApply
	msgStorageApplyResp
	msgForgetLeader
)

// falseEntry and falseMessage are raftpb's, with every field at hand.
type falseEntry struct {
	kind, term, index uint64
	data              []byte
}

type falseMessage struct {
	kind, to, from, term, logTerm, index, commit, hint uint64
	reject                                             bool
	entries                                            []falseEntry
	snapshot, context                                  []byte
}

func number(out []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(
		protowire.AppendTag(out, field, protowire.VarintType), v)
}

func field(out []byte, number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(
		protowire.AppendTag(out, number, protowire.BytesType), b)
}

func (m falseMessage) bytes() []byte {
	var out []byte
	for i, v := range []uint64{m.kind, m.to, m.from, m.term, m.logTerm, m.index} {
		out = number(out, protowire.Number(i+1), v)
	}
	for _, e := range m.entries {
		b := number(number(number(nil, 1, e.kind), 2, e.term), 3, e.index)
		out = field(out, 7, field(b, 4, e.data))
	}
	out = number(out, 8, m.commit)
	if m.snapshot != nil {
		out = field(out, 9, m.snapshot)
	}
	if m.reject {
		out = number(out, 10, 1)
	}
	out = number(out, 11, m.hint)
	if m.context != nil {
		out = field(out, 12, m.context)
	}
	return out
}

// snapshotOf is a raftpb.Snapshot.
func snapshotOf(index, term uint64, voters ...uint64) []byte {
	var conf []byte
	for _, id := range voters {
		conf = number(conf, 1, id)
	}
	return field(nil, 2, number(number(field(nil, 1, conf), 2, index), 3, term))
}

// falsePeer speaks to one member in the name of others.
type falsePeer struct {
	t       *testing.T
	target  *harness.Server
	self    uint64 // the target's id
	members []uint64
	cluster uint64
	images  [][]byte
	client  *http.Client
	status  *clientv3.Client
	sent    atomic.Int64
}

func (p *falsePeer) request(method, path string, from, cluster uint64,
	body []byte) *http.Request {
	r, err := http.NewRequest(method, p.target.PeerURL+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for key, value := range map[string]string{
		"X-Server-From":         strconv.FormatUint(from, 16),
		"X-Server-Version":      "3.7.1",
		"X-Min-Cluster-Version": "3.0.0",
		"X-Etcd-Cluster-ID":     strconv.FormatUint(cluster, 16),
		"X-PeerURLs":            "http://127.0.0.1:1",
		"X-Raft-To":             strconv.FormatUint(p.self, 16),
	} {
		r.Header.Set(key, value)
	}
	return r
}

// say sends it and wants an answer; 0: there was none.
func (p *falsePeer) say(r *http.Request) int {
	p.sent.Add(1)
	answer, err := p.client.Do(r)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	answer.Body.Close()
	return answer.StatusCode
}

// impossible is one of each kind of what no member sends, as of now.
func (p *falsePeer) impossible(now *clientv3.StatusResponse) []falseMessage {
	term, last, leader := now.RaftTerm, now.RaftIndex, now.Leader
	from := leader
	for _, id := range p.members {
		if id != p.self && (from == 0 || from == p.self) {
			from = id
		}
	}
	third := from
	for _, id := range p.members {
		if id != p.self && id != from {
			third = id
		}
	}
	entry := func(index uint64, data string) []falseEntry {
		return []falseEntry{{term: term, index: index, data: []byte(data)}}
	}
	conf := func(kind uint64, data []byte) []falseEntry {
		return []falseEntry{{kind: kind, data: data}}
	}
	version := field(field(nil, 100, number(nil, 1, 7)), 1300,
		field(nil, 1, []byte("9.9.0")))
	user := field(field(nil, 100, number(nil, 1, 7)), 1100,
		field(nil, 1, bytes.Repeat([]byte("u"), 600)))
	role := field(field(nil, 100, number(nil, 1, 7)), 1200,
		field(nil, 1, bytes.Repeat([]byte("r"), 600)))
	put := field(field(nil, 100, number(nil, 1, 7)), 4, []byte("\x0a\xff"))
	attributes := field(field(field(nil, 2, []byte("PUT")), 3,
		[]byte("/0/members/8e9e05c52164694d/attributes")), 4, []byte("no JSON"))
	out := []falseMessage{
		{kind: msgHeartbeat, term: term, commit: last + 1000000},
		{kind: msgHeartbeat, term: term + 5, commit: math.MaxUint64},
		{kind: msgHeartbeat, term: 0},
		{kind: msgVote, term: math.MaxUint64, logTerm: term, index: last},
		{kind: msgPreVote, term: math.MaxUint64, logTerm: term, index: last},
		{kind: msgVote, term: 1 << 50},
		{kind: msgVote, term: term + 1, logTerm: term + 2, context: []byte("CampaignTransfer")},
		{kind: msgVoteResp, term: 0},
		{kind: msgApp, term: term, index: math.MaxUint64, logTerm: term,
			entries: entry(0, "")},
		{kind: msgApp, term: term, index: last, logTerm: term,
			entries: entry(last+5, "")},
		{kind: msgApp, term: term, index: last, logTerm: term + 1},
		{kind: msgApp, term: term, index: last, logTerm: term, commit: last + 1,
			entries: entry(last+1, "no request")},
		{kind: msgApp, term: term, index: last - 1, logTerm: 1 << 40},
		{kind: msgApp, term: term + 1, from: p.self},
		{kind: msgAppResp, term: math.MaxUint64, index: last},
		{kind: msgAppResp, term: term, index: last, reject: true, hint: math.MaxUint64},
		{kind: msgTimeoutNow, term: 0},
		{kind: msgForgetLeader, term: term},
		{kind: msgSnap, term: term, snapshot: snapshotOf(last+100, term, p.members...)},
		{kind: msgReadIndex},
		{kind: msgReadIndex, entries: entry(0, strings.Repeat("c", 5000))},
		{kind: msgReadIndexResp, term: term},
		{kind: msgHeartbeatResp, term: 0, context: bytes.Repeat([]byte("c"), 5000)},
		{kind: msgHeartbeat, term: term, to: third},
		{kind: msgHeartbeat, term: term, from: math.MaxUint64},
		{kind: msgStorageAppendResp, term: term, from: math.MaxUint64, index: last},
		{kind: 77, term: term},
		{kind: msgProp},
		{kind: msgProp, term: term, entries: conf(0, put)},
		{kind: msgProp, entries: conf(0, []byte("no request"))},
		{kind: msgProp, entries: conf(0, put)},
		{kind: msgProp, entries: conf(0, version)},
		{kind: msgProp, entries: conf(0, user)},
		{kind: msgProp, entries: conf(0, role)},
		{kind: msgProp, entries: conf(0, attributes)},
		{kind: msgProp, entries: conf(1, []byte("\xff\xff"))},
		{kind: msgProp, entries: conf(1, nil)},
		{kind: msgProp, entries: conf(1, number(number(nil, 2, 1), 3, math.MaxUint64))},
		{kind: msgProp, entries: conf(2, field(nil, 2, number(number(nil, 1, 1), 2, leader)))},
		{kind: msgProp, entries: conf(2, nil)},
		{kind: msgProp, entries: conf(9, nil)},
	}
	for _, kind := range []uint64{msgHup, msgBeat, msgUnreachable, msgSnapStatus,
		msgCheckQuorum, msgStorageAppend, msgStorageAppendResp, msgStorageApply,
		msgStorageApplyResp} {
		out = append(out, falseMessage{kind: kind, term: term, index: last,
			commit: last})
	}
	if leader == p.self {
		out = append(out,
			falseMessage{kind: msgHeartbeat, term: term, commit: last},
			falseMessage{kind: msgAppResp, term: term, index: last + 1000000})
	} else if leader != 0 {
		out = append(out,
			falseMessage{kind: msgHeartbeat, term: term, from: third},
			falseMessage{kind: msgApp, term: term, from: third, index: last,
				logTerm: term, entries: entry(last+1, "")},
			falseMessage{kind: msgTimeoutNow, term: term, from: third})
	}
	for i := range out {
		if out[i].from == 0 {
			out[i].from = from
		}
		if out[i].to == 0 {
			out[i].to = p.self
		}
	}
	return out
}

// impossibleSnapshots have messages that can be, or not, and no database.
func (p *falsePeer) impossibleSnapshots(now *clientv3.StatusResponse) [][]byte {
	from := now.Leader
	if from == p.self || from == 0 {
		from = p.members[0]
	}
	if from == p.self {
		from = p.members[1]
	}
	ahead := now.RaftIndex + 1000
	var out [][]byte
	with := func(m falseMessage, image []byte) {
		m.kind, m.to, m.from = msgSnap, p.self, from
		b := m.bytes()
		out = append(out, append(append(
			binary.BigEndian.AppendUint64(nil, uint64(len(b))), b...), image...))
	}
	good := falseMessage{term: now.RaftTerm,
		snapshot: snapshotOf(ahead, now.RaftTerm, p.members...)}
	for _, image := range p.images {
		with(good, image)
	}
	for _, snapshot := range [][]byte{
		snapshotOf(0, now.RaftTerm, p.members...),
		snapshotOf(ahead, 0, p.members...),
		snapshotOf(math.MaxUint64, now.RaftTerm, p.members...),
		snapshotOf(ahead, now.RaftTerm+1, p.members...),
		snapshotOf(ahead, now.RaftTerm),
		snapshotOf(ahead, now.RaftTerm, 0, math.MaxUint64),
		[]byte("no snapshot"),
	} {
		with(falseMessage{term: now.RaftTerm, snapshot: snapshot}, p.images[0])
	}
	return append(out, []byte("no message"), nil,
		binary.BigEndian.AppendUint64(nil, math.MaxUint64))
}

// streams asks for the streams of a stranger, of nobody, and of a member from
// another one. A member's own would be given: what goes there is lost.
func (p *falsePeer) streams() {
	for _, path := range []string{"/raft/stream/message/77",
		"/raft/stream/msgapp/zz", "/raft/stream/other/1",
		fmt.Sprintf("/raft/stream/message/%x", p.self)} {
		if status := p.say(p.request("GET", path, p.other(0), p.cluster,
			nil)); status == http.StatusOK {
			p.t.Errorf("%s has given the stream %s", p.target.Name, path)
		}
	}
}

// round says all of it once, not faster than a few hundred a second. The
// message is made just before it is said: the log goes on.
func (p *falsePeer) round(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		asked, cancel := context.WithTimeout(ctx, 5*time.Second)
		now, err := p.status.Status(asked, p.target.Endpoint)
		cancel()
		if err != nil {
			return
		}
		messages := p.impossible(now)
		if i == len(messages) {
			break
		}
		m := messages[i]
		if status := p.say(p.request("POST", "/raft", m.from, p.cluster,
			m.bytes())); status == http.StatusNoContent && m.kind != 77 {
			p.t.Errorf("taken by %s: %+v", p.target.Name, m)
		}
		p.say(p.request("POST", "/raft", 0x77, p.cluster, m.bytes()))
		p.say(p.request("POST", "/raft", m.from, p.cluster+1, m.bytes()))
		b := m.bytes()
		p.say(p.request("POST", "/raft", m.from, p.cluster, b[:len(b)/2]))
		time.Sleep(10 * time.Millisecond)
	}
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	now, err := p.status.Status(asked, p.target.Endpoint)
	if err != nil || ctx.Err() != nil {
		return
	}
	for i, body := range p.impossibleSnapshots(now) {
		if p.say(p.request("POST", "/raft/snapshot", p.other(now.Leader),
			p.cluster, body)) == http.StatusNoContent {
			p.t.Errorf("snapshot %d was taken by %s", i, p.target.Name)
		}
	}
	p.streams()
}

func (p *falsePeer) other(id uint64) uint64 {
	for i := 0; id == p.self || id == 0; i++ {
		id = p.members[i]
	}
	return id
}

// falseImages are databases that none are, or hold what no store has. The first
// one is a real one, of a state that was long ago.
func falseImages(t *testing.T, s *harness.Server, self uint64) [][]byte {
	t.Helper()
	client := httpClient(t, s)
	defer client.Close()
	reader, err := client.Snapshot(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	image, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	image = image[:len(image)-32] // its SHA-256
	changed := func(change func(tx *bolt.Tx) error) []byte {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			index := binary.BigEndian.AppendUint64(nil, 1<<20)
			if err := tx.Bucket([]byte("meta")).Put([]byte("consistent_index"),
				index); err != nil {
				return err
			}
			return change(tx)
		})
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	put := func(bucket, key, value string) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err != nil {
				return err
			}
			return b.Put([]byte(key), []byte(value))
		}
	}
	flipped := bytes.Clone(image)
	for i := 4096; i < len(flipped); i += 997 {
		flipped[i] ^= 0x41
	}
	return [][]byte{
		image,
		{},
		[]byte("no database"),
		bytes.Repeat([]byte{0}, 1<<20),
		image[:len(image)/2],
		flipped,
		changed(put("a bucket of no store", "k", "v")),
		changed(put("key", "no revision", "v")),
		changed(put("key", "\x00\x00\x00\x00\x00\x00\xff\xff_\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff")),
		changed(put("lease", "12345678", "\xff")),
		changed(put("members", "no id", "{}")),
		changed(put("members_removed", fmt.Sprintf("%016x", self), "removed")),
		changed(put("meta", "consistent_index", "\xff\xff\xff\xff\xff\xff\xff\xff")),
		changed(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("members")) }),
	}
}

// load puts and gets at all members until the end; no request may fail.
func falseLoad(ctx context.Context, t *testing.T, cluster *harness.Cluster,
	done chan<- int) {
	client, err := clientv3.New(clientv3.Config{Endpoints: cluster.Endpoints(),
		DialTimeout: 5 * time.Second})
	if err != nil {
		t.Error(err)
		done <- 0
		return
	}
	defer client.Close()
	n := 0
	for ; ctx.Err() == nil; n++ {
		asked, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		key, value := fmt.Sprintf("k%d", n%100), strconv.Itoa(n)
		_, err := client.Put(asked, key, value)
		if err == nil {
			var got *clientv3.GetResponse
			got, err = client.Get(asked, key)
			if err == nil && (len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value) {
				err = fmt.Errorf("%s is %v instead of %s", key, got.Kvs, value)
			}
		}
		cancel()
		if err != nil {
			t.Errorf("request %d: %v", n, err)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	done <- n
}

var refusedSeries = regexp.MustCompile(
	`(?m)^chorad_peer_refused_messages_total\{reason="([^"]+)"\} (\S+)$`)

// checkRefusals: all that was refused is counted, and little of it is logged.
// It adds the reasons to those seen.
func checkRefusals(t *testing.T, s *harness.Server, seconds int,
	seen map[string]bool) {
	t.Helper()
	answer, err := http.Get(s.ClientURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	total, reasons := 0.0, map[string]bool{}
	for _, m := range refusedSeries.FindAllStringSubmatch(string(page), -1) {
		n, _ := strconv.ParseFloat(m[2], 64)
		total += n
		reasons[m[1]], seen[m[1]] = true, true
	}
	lines := strings.Count(s.Log(), "refused a Raft message")
	if most := (len(reasons) + 1) * (seconds/10 + 2); lines > most {
		t.Errorf("%s tells of refusals in %d lines, more than %d", s.Name, lines, most)
	}
	all := strings.Count(s.Log(), "\n")
	if all > 1000+100*seconds {
		t.Errorf("%s has logged %d lines", s.Name, all)
	}
	t.Logf("%s: %.0f refused for %d reasons, %d lines of %d tell of it", s.Name,
		total, len(reasons), lines, all)
}

// TestFalsePeer: strangers, and false members with a real one's ids, say what
// no member says to each member of a cluster, which goes on as if nothing were.
func TestFalsePeer(t *testing.T) {
	cluster := harness.StartCluster(t, harness.Options{}, "", "", "")
	client := httpClient(t, cluster.Members[0])
	list, err := client.MemberList(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]uint64{}
	var members []uint64
	for _, m := range list.Members {
		ids[m.Name] = m.ID
		members = append(members, m.ID)
	}
	pids := map[string]int{}
	var peers []*falsePeer
	for _, s := range cluster.Members {
		pids[s.Name] = s.Pid()
		peers = append(peers, &falsePeer{t: t, target: s, self: ids[s.Name],
			members: members, cluster: list.Header.ClusterId,
			images: falseImages(t, s, ids[s.Name]),
			client: &http.Client{Timeout: 20 * time.Second},
			status: httpClient(t, s)})
	}
	ctx, cancel := context.WithTimeout(context.Background(),
		time.Duration(*falseSecondsFlag)*time.Second)
	defer cancel()
	loads, ended := make(chan int, 2), make(chan bool, len(peers))
	for range cap(loads) {
		go falseLoad(ctx, t, cluster, loads)
	}
	for _, p := range peers {
		go func() {
			for ctx.Err() == nil {
				p.round(ctx)
			}
			ended <- true
		}()
	}
	for range peers {
		<-ended
	}
	seen := map[string]bool{}
	for range cap(loads) {
		if n := <-loads; n < 20**falseSecondsFlag/2 {
			t.Errorf("only %d puts and gets", n)
		}
	}
	for _, p := range peers {
		if !p.target.Alive() || p.target.Pid() != pids[p.target.Name] {
			t.Fatalf("%s has ended: %s", p.target.Name, p.target.LogTail(20))
		}
		t.Logf("%s was sent %d messages", p.target.Name, p.sent.Load())
		checkRefusals(t, p.target, *falseSecondsFlag, seen)
	}
	for _, reason := range []string{"commit-beyond-log", "number-too-large",
		"term-too-far", "no-term", "local-type", "wrong-sender", "no-request",
		"newer-cluster", "name-too-long", "no-configuration-change",
		"second-leader", "acknowledges-beyond-log", "no-configuration",
		"bad-database", "no-message"} {
		if !seen[reason] {
			t.Errorf("nothing was refused as %s", reason)
		}
	}
	sameHashes(t, cluster)
	// Nor does a start find anything of it.
	for _, s := range cluster.Members {
		if _, err := s.Stop(syscall.SIGTERM, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := cluster.Run(); err != nil {
		t.Fatal(err)
	}
	sameHashes(t, cluster)
}
