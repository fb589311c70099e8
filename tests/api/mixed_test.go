package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// TestMixed has members of both kinds in one cluster, and takes each cluster
// through all that happens to one.
func TestMixed(t *testing.T) {
	t.Parallel()
	etcd, older := harness.Tool(t, "etcd"), harness.OldTool(t, "etcd-3.6")
	mixes := map[string][]string{
		"one chorad":  {"", etcd, older},
		"two chorads": {"", "", etcd},
	}
	if harness.Slow() {
		mixes["two chorads beside 3.6"] = []string{"", "", older}
		mixes["one chorad beside two of 3.7"] = []string{"", etcd, etcd}
	}
	for name, binaries := range mixes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testMix(t, binaries)
		})
	}
}

func testMix(t *testing.T, binaries []string) {
	opts := shortLog
	opts.Args = append([]string{"--bcrypt-cost", "4"}, opts.Args...)
	cluster := harness.StartCluster(t, opts, binaries...)
	for _, part := range []struct {
		name string
		play func(t *testing.T, cluster *harness.Cluster)
	}{
		{"leaders moved", testMixedMoves},
		{"leaders killed", testMixedKills},
		{"requests", testMixedRequests},
		{"snapshots", testMixedSnapshots},
		{"members", testMixedMembers},
	} {
		t.Run(part.name, func(t *testing.T) { part.play(t, cluster) })
		sameHashes(t, cluster)
	}
}

// kind is what a member is, for the logs of tests.
func kind(s *harness.Server) string {
	_, name, _ := strings.Cut(s.Binary, "tools/")
	if name == "" {
		name = "chorad"
	}
	return s.Name + " (" + name + ")"
}

// lead makes a member the leader.
func lead(t *testing.T, cluster *harness.Cluster, s *harness.Server) {
	t.Helper()
	id := memberID(t, s)
	var last error
	if !harness.Eventually(harness.Patience(), func() bool {
		from := leader(t, cluster)
		if from == s {
			return true
		}
		_, last = httpClient(t, from).MoveLeader(timeout(t), id)
		return false
	}) {
		t.Fatalf("%s doesn't become the leader: %v", kind(s), last)
	}
}

// testMixedMoves moves the leadership from each member to each other one, under
// load.
func testMixedMoves(t *testing.T, cluster *harness.Cluster) {
	book, load := startLoad(t, cluster)
	for _, from := range cluster.Members {
		for _, to := range cluster.Others(from) {
			lead(t, cluster, from)
			begin := time.Now().Format("15:04:05.000")
			lead(t, cluster, to)
			t.Logf("%s from %s to %s", begin, kind(from), kind(to))
			time.Sleep(200 * time.Millisecond)
			sameHashesNow(t, cluster)
		}
	}
	endLoad(t, cluster, book, load)
}

// testMixedKills kills each member while it leads under load, and then while
// it follows; the others go on, and it comes back.
func testMixedKills(t *testing.T, cluster *harness.Cluster) {
	s := seed()
	t.Logf("seed %d", s)
	// The history of the ledger begins with nothing.
	book := ledger.NewBook(s, 8)
	for _, leads := range []bool{true, false} {
		for i, victim := range cluster.Members {
			first := victim
			if !leads {
				first = cluster.Members[(i+1)%len(cluster.Members)]
			}
			lead(t, cluster, first)
			kill := time.AfterFunc(300*time.Millisecond, victim.Kill)
			load(t, book, 700*time.Millisecond, cluster.Endpoints()...)
			kill.Stop()
			auditAll(t, cluster, book, i)
			load(t, book, 200*time.Millisecond, living(cluster)...)
			next := leader(t, cluster)
			victim.Restart(t)
			auditAll(t, cluster, book, i)
			t.Logf("%s killed, %s led, %s leads, %d writes", kind(victim),
				kind(first), kind(next), book.Acknowledged())
		}
	}
}

// testMixedRequests asks each member for everything, led by each of them.
func testMixedRequests(t *testing.T, cluster *harness.Cluster) {
	for _, leads := range cluster.Members {
		lead(t, cluster, leads)
		everyRPC(t, cluster)
		if now := leader(t, cluster); now != leads {
			t.Errorf("%s leads instead of %s", kind(now), kind(leads))
		}
	}
}

// testMixedSnapshots lets a member of one kind fall behind a leader of the
// other, for each pair, until only a snapshot helps, and lets it lead then.
func testMixedSnapshots(t *testing.T, cluster *harness.Cluster) {
	for _, leads := range cluster.Members {
		for _, away := range cluster.Others(leads) {
			if leads.Binary == away.Binary {
				continue
			}
			// Who has sent a snapshot keeps its log for half a minute.
			leads.Kill()
			leads.Restart(t)
			lead(t, cluster, leads)
			sentSnapshot(t, cluster, leads, away)
		}
	}
}

func sentSnapshot(t *testing.T, cluster *harness.Cluster,
	leads, away *harness.Server) {
	t.Helper()
	away.Kill()
	client := httpClient(t, leads)
	lease, err := client.Grant(timeout(t), 600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Put(timeout(t), "leased", "x", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	write(t, client, "away", 300, 1000)
	before := len(away.Log())
	away.Restart(t)
	if !harness.Eventually(harness.Patience(), func() bool {
		return strings.Contains(away.Log()[before:],
			"received and saved database snapshot")
	}) {
		t.Errorf("%s was sent no snapshot", kind(away))
	}
	if now := leader(t, cluster); now != leads {
		t.Errorf("%s leads instead of %s", kind(now), kind(leads))
	}
	sameHashes(t, cluster)
	lead(t, cluster, away)
	client = httpClient(t, away)
	left, err := client.TimeToLive(timeout(t), lease.ID,
		clientv3.WithAttachedKeys())
	if err != nil || left.GrantedTTL != 600 ||
		fmt.Sprintf("%s", left.Keys) != "[leased]" {
		t.Errorf("the lease after the snapshot: %v, %v", left, err)
	}
	write(t, client, "away", 100, 1000)
	if _, err := client.Revoke(timeout(t), lease.ID); err != nil {
		t.Error(err)
	}
	got, err := httpClient(t, leads).Get(timeout(t), "leased")
	if err != nil || len(got.Kvs) != 0 {
		t.Errorf("the key of the lease revoked: %v, %v", got, err)
	}
	t.Logf("%s sent a snapshot to %s", kind(leads), kind(away))
}

// testMixedMembers adds a member of each kind while each kind leads, first as
// a learner, lets it lead, and removes it again: asked at a member of each
// kind.
func testMixedMembers(t *testing.T, cluster *harness.Cluster) {
	binaries := map[string]bool{}
	for _, s := range cluster.Members {
		binaries[s.Binary] = true
	}
	for binary := range binaries {
		for leading := range binaries {
			if harness.IsChorad(binary) == harness.IsChorad(leading) &&
				!harness.Slow() {
				continue
			}
			leads := firstOf(cluster, leading)
			lead(t, cluster, leads)
			at := cluster.Others(leads)[0]
			s := addedMember(t, cluster, at, binary)
			write(t, httpClient(t, s), "joined", 40, 100)
			lead(t, cluster, s)
			write(t, httpClient(t, at), "joined", 40, 100)
			sameHashes(t, cluster)
			lead(t, cluster, leads)
			removedMember(t, cluster, at, s)
			t.Logf("%s joined and left, led by %s, asked by %s", kind(s),
				kind(leads), kind(at))
		}
	}
}

func firstOf(cluster *harness.Cluster, binary string) *harness.Server {
	for _, s := range cluster.Members {
		if s.Binary == binary {
			return s
		}
	}
	return nil
}

// addedMember adds one more member: a learner, then a voter.
func addedMember(t *testing.T, cluster *harness.Cluster, at *harness.Server,
	binary string) *harness.Server {
	t.Helper()
	client := httpClient(t, at)
	s := cluster.Join(binary)
	var added *clientv3.MemberAddResponse
	var err error
	if !harness.Eventually(harness.Patience(), func() bool {
		added, err = client.MemberAddAsLearner(timeout(t), []string{s.PeerURL})
		return err == nil
	}) {
		t.Fatalf("%s adds %s: %v", kind(at), kind(s), err)
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	// A member that isn't in step yet isn't let in.
	if !harness.Eventually(harness.Patience(), func() bool {
		_, err = client.MemberPromote(timeout(t), added.Member.ID)
		return err == nil
	}) {
		t.Fatalf("%s promotes %s: %v\n%s", kind(at), kind(s), err,
			s.LogTail(50))
	}
	if err := s.WaitReady(); err != nil {
		t.Fatalf("%s: %v\n%s", kind(s), err, s.LogTail(20))
	}
	return s
}

// removedMember removes a member. Its process ends by itself.
func removedMember(t *testing.T, cluster *harness.Cluster,
	at, s *harness.Server) {
	t.Helper()
	client, id := httpClient(t, at), memberID(t, s)
	var err error
	if !harness.Eventually(harness.Patience(), func() bool {
		_, err = client.MemberRemove(timeout(t), id)
		return err == nil
	}) {
		t.Fatalf("%s removes %s: %v", kind(at), kind(s), err)
	}
	select {
	case <-s.Exited():
	case <-time.After(harness.Patience()):
		t.Errorf("%s still runs after it was removed\n%s", kind(s),
			s.LogTail(10))
	}
	cluster.Forget(s)
}
