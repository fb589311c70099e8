package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// three is a cluster of the server under test alone.
var three = []string{"", "", ""}

// TestCluster lives with three members: requests at any of them, leaders that
// hand over or die, restarts.
func TestCluster(t *testing.T) {
	cluster := harness.StartCluster(t, harness.Options{}, three...)
	t.Run("requests at any member", func(t *testing.T) {
		testAnyMember(t, cluster)
	})
	t.Run("leases at any member", func(t *testing.T) {
		testAnyMemberLeases(t, cluster)
	})
	t.Run("order", func(t *testing.T) {
		realTimeOrder(t, newCluster(t).Members...)
	})
	t.Run("members killed", func(t *testing.T) {
		testLeaderKilled(t, newCluster(t))
	})
	t.Run("leader moved", func(t *testing.T) { testMoveLeader(t, cluster) })
	t.Run("leader stopped", func(t *testing.T) {
		testLeaderStopped(t, cluster)
	})
	t.Run("all killed", func(t *testing.T) { testAllKilled(t, cluster) })
	sameHashes(t, cluster)
}

func newCluster(t *testing.T) *harness.Cluster {
	t.Helper()
	return harness.StartCluster(t, harness.Options{}, three...)
}

func memberStatus(s *harness.Server) (*clientv3.StatusResponse, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.Endpoint}, Logger: quiet})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return client.Status(ctx, s.Endpoint)
}

// leader waits until the living members agree on one, and gives it.
func leader(t *testing.T, cluster *harness.Cluster) *harness.Server {
	t.Helper()
	var found *harness.Server
	agreed := func() bool {
		found = nil
		leaders := map[uint64]bool{}
		for _, s := range cluster.Members {
			if !s.Alive() {
				continue
			}
			status, err := memberStatus(s)
			if err != nil {
				return false
			}
			leaders[status.Leader] = true
			if status.Leader == status.Header.MemberId {
				found = s
			}
		}
		return found != nil && len(leaders) == 1
	}
	if !harness.Eventually(harness.Patience(), agreed) {
		for _, s := range cluster.Members {
			status, err := memberStatus(s)
			t.Logf("%s: %v, %v", s.Name, status, err)
		}
		t.Fatal("the members agree on no leader")
	}
	return found
}

func follower(t *testing.T, cluster *harness.Cluster) *harness.Server {
	t.Helper()
	return cluster.Others(leader(t, cluster))[0]
}

func memberID(t *testing.T, s *harness.Server) uint64 {
	t.Helper()
	status, err := memberStatus(s)
	if err != nil {
		t.Fatal(err)
	}
	return status.Header.MemberId
}

// sameHashes waits until all living members are at the same revision, and
// wants the same hash of all that is stored of each.
func sameHashes(t *testing.T, cluster *harness.Cluster) {
	t.Helper()
	type hash struct{ revision, compacted, hash int64 }
	var hashes map[string]hash
	settled := func() bool {
		hashes = map[string]hash{}
		revisions := map[[2]int64]bool{}
		for _, s := range cluster.Members {
			if !s.Alive() {
				continue
			}
			client := httpClient(t, s)
			defer client.Close()
			got, err := client.HashKV(timeout(t), s.Endpoint, 0)
			if err != nil {
				return false
			}
			hashes[s.Name] = hash{got.HashRevision, got.CompactRevision,
				int64(got.Hash)}
			revisions[[2]int64{got.HashRevision, got.CompactRevision}] = true
		}
		return len(revisions) == 1
	}
	if !harness.Eventually(harness.Patience(), settled) {
		t.Fatalf("the members don't get to one revision: %v", hashes)
	}
	different := map[hash]bool{}
	for _, h := range hashes {
		different[h] = true
	}
	if len(different) != 1 {
		t.Fatalf("the members differ: %v", hashes)
	}
}

// testAnyMember writes at each member and reads at each other one at once:
// what was answered is seen everywhere. Watchers at all members see the same.
func testAnyMember(t *testing.T, cluster *harness.Cluster) {
	var clients []*clientv3.Client
	var watches []clientv3.WatchChan
	for _, s := range cluster.Members {
		client := httpClient(t, s)
		clients = append(clients, client)
		watch := client.Watch(timeout(t), "any", clientv3.WithPrefix(),
			clientv3.WithCreatedNotify())
		<-watch
		watches = append(watches, watch)
	}
	var want []string
	for i := range 60 {
		writer, reader := clients[i%3], clients[(i+1+i/3%2)%3]
		key, value := fmt.Sprint("any", i%7), fmt.Sprint("value", i)
		put, err := writer.Put(timeout(t), key, value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := reader.Get(timeout(t), key)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Kvs[0].Value) != value ||
			got.Kvs[0].ModRevision != put.Header.Revision {
			t.Fatalf("%s is %v after it was set to %s", key, got.Kvs, value)
		}
		want = append(want, fmt.Sprintf("%d %s=%s", put.Header.Revision, key,
			value))
	}
	for i, watch := range watches {
		var seen []string
		for len(seen) < len(want) {
			batch := <-watch
			if len(batch.Events) == 0 {
				t.Fatalf("the watch ends: %v", batch.Err())
			}
			for _, event := range batch.Events {
				seen = append(seen, fmt.Sprintf("%d %s=%s",
					event.Kv.ModRevision, event.Kv.Key, event.Kv.Value))
			}
		}
		if strings.Join(seen, "\n") != strings.Join(want, "\n") {
			t.Errorf("the watcher at member %d sees %v, not %v", i+1, seen,
				want)
		}
	}
	members, err := clients[1].MemberList(timeout(t))
	if err != nil || len(members.Members) != 3 {
		t.Errorf("members %v, %v", members, err)
	}
}

// testAnyMemberLeases grants, keeps alive, asks and revokes, each at another
// member; a lease that nobody keeps alive runs out everywhere.
func testAnyMemberLeases(t *testing.T, cluster *harness.Cluster) {
	var clients []*clientv3.Client
	for _, s := range cluster.Members {
		clients = append(clients, httpClient(t, s))
	}
	for i := range 3 {
		a, b, c := clients[i], clients[(i+1)%3], clients[(i+2)%3]
		lease, err := a.Grant(timeout(t), 60)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Put(timeout(t), "leased", "x", clientv3.WithLease(lease.ID))
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range clients {
			left, err := client.TimeToLive(timeout(t), lease.ID,
				clientv3.WithAttachedKeys())
			if err != nil || left.GrantedTTL != 60 || left.TTL < 50 ||
				len(left.Keys) != 1 {
				t.Errorf("lease of member %d: %v, %v", i+1, left, err)
			}
			kept, err := client.KeepAliveOnce(timeout(t), lease.ID)
			if err != nil || kept.TTL != 60 {
				t.Errorf("lease of member %d kept: %v, %v", i+1, kept, err)
			}
		}
		if _, err = c.Revoke(timeout(t), lease.ID); err != nil {
			t.Error(err)
		}
		left, err := a.TimeToLive(timeout(t), lease.ID)
		if err != nil || left.TTL != -1 {
			t.Errorf("after it was revoked: %v, %v", left, err)
		}
		got, err := b.Get(timeout(t), "leased")
		if err != nil || len(got.Kvs) != 0 {
			t.Errorf("the key of the lease revoked: %v, %v", got, err)
		}
	}
	for i, client := range clients {
		lease, err := client.Grant(timeout(t), 2)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Put(timeout(t), fmt.Sprint("short", i), "x",
			clientv3.WithLease(lease.ID))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, client := range clients {
		if !harness.Eventually(harness.Patience(), func() bool {
			got, err := client.Get(timeout(t), "short", clientv3.WithPrefix())
			return err == nil && len(got.Kvs) == 0
		}) {
			t.Error("a short lease doesn't run out")
		}
	}
}

// busy writes at the members until it is told to stop, and says how long the
// longest write took. None may fail: etcd loses what is forwarded to a leader
// that just hands over, it is let off.
func busy(t *testing.T, members []*harness.Server) (stop func() time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	var longest atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	for i := range 3 * len(members) {
		client := httpClient(t, members[i%len(members)])
		key := fmt.Sprint("busy", i)
		if _, err := client.Put(timeout(t), key, ""); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				begin := time.Now()
				_, err := client.Put(timeout(t), key, fmt.Sprint(n))
				if err != nil && members[0].IsChorad() {
					t.Errorf("write %d: %v", n, err)
				}
				took := int64(time.Since(begin))
				for known := longest.Load(); took > known &&
					!longest.CompareAndSwap(known, took); {
					known = longest.Load()
				}
			}
		})
	}
	return func() time.Duration {
		cancel()
		group.Wait()
		return time.Duration(longest.Load())
	}
}

// quick wants the longest write, while the leadership is handed on, to take
// less than an election.
func quick(t *testing.T, cluster *harness.Cluster, longest time.Duration) {
	t.Helper()
	t.Logf("no write took longer than %v", longest)
	if cluster.Members[0].IsChorad() &&
		longest > time.Duration(900*harness.Slack())*time.Millisecond {
		t.Error("that is too long")
	}
}

// testMoveLeader moves the leadership to each of the others, while all
// members are written to.
func testMoveLeader(t *testing.T, cluster *harness.Cluster) {
	stop := busy(t, cluster.Members)
	for range 3 {
		for _, to := range cluster.Members {
			from := leader(t, cluster)
			if from == to {
				continue
			}
			_, err := httpClient(t, from).MoveLeader(timeout(t),
				memberID(t, to))
			if err != nil {
				t.Error(err)
			} else if now := leader(t, cluster); now != to {
				t.Errorf("%s leads after the move from %s to %s", now.Name,
					from.Name, to.Name)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	quick(t, cluster, stop())
}

// testLeaderStopped ends the leader with SIGTERM: it hands over, so that the
// others are without a leader for much less than an election takes.
func testLeaderStopped(t *testing.T, cluster *harness.Cluster) {
	first := leader(t, cluster)
	stop := busy(t, cluster.Others(first))
	time.Sleep(200 * time.Millisecond)
	took, err := first.Stop(syscall.SIGTERM, 20*time.Second)
	if first.IsChorad() && err != nil {
		t.Errorf("after the signal: %v", err)
	}
	if took > time.Duration(3*harness.Slack())*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	time.Sleep(1500 * time.Millisecond)
	quick(t, cluster, stop())
	if leader(t, cluster) == first {
		t.Error("the member that has stopped still leads")
	}
	first.Restart(t)
}

// testLeaderKilled kills one member after the other under load, mostly the
// leader, sometimes all of them: what any member has acknowledged is there, at
// each of them, and they hold the same.
func testLeaderKilled(t *testing.T, cluster *harness.Cluster) {
	s := seed()
	t.Logf("seed %d", s)
	rng := rand.New(rand.NewPCG(s, 0))
	book := ledger.NewBook(s, 12)
	for round := range *killsFlag {
		victims := []*harness.Server{leader(t, cluster)}
		switch rng.IntN(5) {
		case 0:
			victims = cluster.Members
		case 1:
			victims = cluster.Others(victims[0])[:1]
		}
		after := time.Duration(100+rng.IntN(900)) * time.Millisecond
		kill := time.AfterFunc(after, func() {
			for _, victim := range victims {
				victim.Kill()
			}
		})
		load(t, book, 1500*time.Millisecond, cluster.Endpoints()...)
		kill.Stop()
		if len(victims) == 1 {
			auditAll(t, cluster, book, round)
			load(t, book, 500*time.Millisecond, living(cluster)...)
		}
		for _, victim := range victims {
			victim.Kill()
			if err := victim.Launch(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cluster.WaitReady(); err != nil {
			t.Fatal(err)
		}
		auditAll(t, cluster, book, round)
		t.Logf("round %d: %d killed after %v, %d writes acknowledged so far",
			round, len(victims), after, book.Acknowledged())
	}
	if book.Acknowledged() < 20**killsFlag {
		t.Errorf("too few writes: %d", book.Acknowledged())
	}
}

func load(t *testing.T, book *ledger.Book, limit time.Duration,
	endpoints ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := book.Load(ctx, endpoints...); err != nil {
		t.Fatal(err)
	}
}

func living(cluster *harness.Cluster, but ...*harness.Server) []string {
	var endpoints []string
	for _, s := range cluster.Members {
		if s.Alive() && !slices.Contains(but, s) {
			endpoints = append(endpoints, s.Endpoint)
		}
	}
	return endpoints
}

// auditAll compares each living member with the book. What has been answered
// to nobody may still happen until a write of a new leader is there.
func auditAll(t *testing.T, cluster *harness.Cluster, book *ledger.Book,
	round int) {
	t.Helper()
	leader(t, cluster)
	for _, endpoint := range living(cluster) {
		if err := book.Verify(endpoint); err != nil {
			t.Fatalf("round %d, member %s: %v", round, endpoint, err)
		}
	}
	sameHashes(t, cluster)
}

// testAllKilled ends all members at once and starts them again.
func testAllKilled(t *testing.T, cluster *harness.Cluster) {
	client := httpClient(t, follower(t, cluster))
	lease, err := client.Grant(timeout(t), 600)
	if err != nil {
		t.Fatal(err)
	}
	put, err := client.Put(timeout(t), "kept", "over the kill",
		clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	cluster.Kill()
	if err := cluster.Run(); err != nil {
		t.Fatal(err)
	}
	for _, s := range cluster.Members {
		client := httpClient(t, s)
		got, err := client.Get(timeout(t), "kept")
		if err != nil || len(got.Kvs) != 1 ||
			got.Kvs[0].ModRevision != put.Header.Revision ||
			got.Kvs[0].Lease != int64(lease.ID) {
			t.Errorf("at %s: %v, %v", s.Name, got, err)
		}
		left, err := client.TimeToLive(timeout(t), lease.ID)
		if err != nil || left.GrantedTTL != 600 || left.TTL < 500 {
			t.Errorf("the lease at %s: %v, %v", s.Name, left, err)
		}
	}
}

// TestForceNewCluster makes one member of three, whose others are lost, a cluster
// of its own: with all that it had, and able to grow again.
func TestForceNewCluster(t *testing.T) {
	cluster := newCluster(t)
	kept := follower(t, cluster)
	client := httpClient(t, kept)
	lease, err := client.Grant(timeout(t), 600)
	if err != nil {
		t.Fatal(err)
	}
	put, err := client.Put(timeout(t), "kept", "yes",
		clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	sameHashes(t, cluster)
	id := memberID(t, kept)
	cluster.Kill()
	for _, lost := range cluster.Others(kept) {
		cluster.Forget(lost)
	}
	kept.SetArgs("--force-new-cluster")
	kept.Restart(t)
	check := func(members int) {
		t.Helper()
		client := httpClient(t, kept)
		list, err := client.MemberList(timeout(t))
		if err != nil || len(list.Members) != members {
			t.Fatalf("members %v, %v", list, err)
		}
		if memberID(t, kept) != id {
			t.Error("it has become another member")
		}
		got, err := client.Get(timeout(t), "kept")
		if err != nil || len(got.Kvs) != 1 ||
			got.Kvs[0].ModRevision != put.Header.Revision ||
			got.Kvs[0].Lease != int64(lease.ID) {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := client.Put(timeout(t), "more", ""); err != nil {
			t.Error(err)
		}
	}
	check(1)
	kept.Kill()
	kept.SetArgs()
	kept.Restart(t)
	check(1)
	// Nobody can join a cluster that hasn't decided on its version.
	if !harness.Eventually(harness.Patience(), func() bool {
		return strings.Contains(fetch(t, "GET", kept.ClientURL+
			"/version").Body, `"etcdcluster":"3.7.0"`)
	}) {
		t.Error("there is no version")
	}
	second := cluster.Join("")
	second.Name = "second"
	second.Cluster = cluster.Initial()
	if !harness.Eventually(harness.Patience(), func() bool {
		_, err = httpClient(t, kept).MemberAdd(timeout(t),
			[]string{second.PeerURL})
		return err == nil
	}) {
		t.Fatal(err)
	}
	if err := second.Run(); err != nil {
		t.Fatal(err)
	}
	check(2)
	sameHashes(t, cluster)
}
