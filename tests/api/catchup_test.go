package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// shortLog lets a member fall behind the log quickly.
var shortLog = harness.Options{Args: []string{"--snapshot-count", "100",
	"--snapshot-catchup-entries", "20"}}

// TestCatchUp lets a member of three fall behind what the others have in their
// logs, so that the leader sends it all that it has.
func TestCatchUp(t *testing.T) {
	t.Run("alive", func(t *testing.T) {
		cluster := harness.StartCluster(t, shortLog, three...)
		catchUpAlive(t, cluster, follower(t, cluster))
	})
	t.Run("compacted", testCatchUpCompacted)
	t.Run("restarted", testCatchUpRestarted)
	t.Run("killed", testCatchUpKilled)
	t.Run("joining", testCatchUpJoining)
}

// behind stops the member, lets the others write until the leader sends it
// nothing more, as it acknowledges nothing, and then until their logs don't
// reach back to what was sent, and lets it go on.
func behind(t *testing.T, cluster *harness.Cluster, s *harness.Server,
	meanwhile func(client *clientv3.Client)) {
	t.Helper()
	if err := s.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Signal(syscall.SIGCONT) }()
	client := httpClient(t, cluster.Others(s)[0])
	write(t, client, "behind", 3500, 100)
	meanwhile(client)
}

func write(t *testing.T, client *clientv3.Client, prefix string, n, size int,
) {
	t.Helper()
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range n / 4 {
				_, err := client.Put(timeout(t), fmt.Sprintf("%s/%d/%d",
					prefix, w, i%20), strings.Repeat("x", size))
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
}

// catchUpAlive has watchers and readers at the member while it is given
// another store: they see nothing of that.
func catchUpAlive(t *testing.T, cluster *harness.Cluster, s *harness.Server) {
	client := httpClient(t, s)
	lease, err := client.Grant(timeout(t), 600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Put(timeout(t), "leased", "before",
		clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	events, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch := client.Watch(events, "", clientv3.WithPrefix(),
		clientv3.WithRev(2))
	watched := make(chan error, 1)
	go func() { watched <- everyRevision(watch) }()
	reads := make(chan error, 1)
	stop, stopReads := context.WithCancel(context.Background())
	go func() { reads <- readOn(stop, client) }()

	var second clientv3.LeaseID
	behind(t, cluster, s, func(other *clientv3.Client) {
		granted, err := other.Grant(timeout(t), 700)
		if err != nil {
			t.Fatal(err)
		}
		second = granted.ID
		_, err = other.Put(timeout(t), "leased too", "x",
			clientv3.WithLease(second))
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, err := client.Put(timeout(t), "end", ""); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-watched:
		if err != nil {
			t.Errorf("the watcher: %v", err)
		}
	case <-time.After(harness.Patience()):
		t.Error("the watcher stands still")
	}
	stopReads()
	if err := <-reads; err != nil {
		t.Errorf("the reader: %v", err)
	}
	wantSnapshot(t, s)
	sameHashes(t, cluster)
	for id, granted := range map[clientv3.LeaseID]int64{lease.ID: 600,
		second: 700} {
		left, err := client.TimeToLive(timeout(t), id,
			clientv3.WithAttachedKeys())
		if err != nil || left.GrantedTTL != granted || len(left.Keys) != 1 {
			t.Errorf("lease %x: %v, %v", id, left, err)
		}
	}
	if _, err := client.Revoke(timeout(t), second); err != nil {
		t.Error(err)
	}
	sameHashes(t, cluster)
	s.Kill()
	s.Restart(t)
	sameHashes(t, cluster)
}

// readOn reads what the member has itself until it is told to stop: the
// revision never goes back.
func readOn(ctx context.Context, client *clientv3.Client) error {
	last := int64(0)
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(context.Background(),
			harness.Patience())
		got, err := client.Get(limited, "behind/", clientv3.WithPrefix(),
			clientv3.WithSerializable(), clientv3.WithLimit(50))
		cancel()
		if err != nil {
			return err
		}
		if got.Header.Revision < last {
			return fmt.Errorf("revision %d is read after %d",
				got.Header.Revision, last)
		}
		last = got.Header.Revision
	}
	return nil
}

// wantSnapshot wants the member to have been sent a snapshot.
func wantSnapshot(t *testing.T, s *harness.Server) {
	t.Helper()
	if !s.WaitLog("received and saved database snapshot", time.Second) {
		t.Errorf("%s was sent no snapshot", s.Name)
	}
}

// testCatchUpCompacted compacts what a watcher at the member still waits for.
func testCatchUpCompacted(t *testing.T) {
	cluster := harness.StartCluster(t, shortLog, three...)
	s := follower(t, cluster)
	client := httpClient(t, s)
	watch := client.Watch(timeout(t), "behind", clientv3.WithPrefix(),
		clientv3.WithCreatedNotify())
	<-watch
	compacted := int64(0)
	behind(t, cluster, s, func(other *clientv3.Client) {
		got, err := other.Get(timeout(t), "x")
		if err != nil {
			t.Fatal(err)
		}
		compacted = got.Header.Revision - 5
		_, err = other.Compact(timeout(t), compacted,
			clientv3.WithCompactPhysical())
		if err != nil {
			t.Fatal(err)
		}
		write(t, other, "more", 300, 1000)
	})
	batch := <-watch
	for batch.Err() == nil && len(batch.Events) > 0 {
		batch = <-watch
	}
	if batch.CompactRevision != compacted {
		t.Errorf("compacted at %d, the watcher gets %+v", compacted, batch)
	}
	wantSnapshot(t, s)
	sameHashes(t, cluster)
	_, err := client.Get(timeout(t), "behind/1/1", clientv3.WithRev(compacted-1))
	if err == nil || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("a read behind the compaction: %v", err)
	}
}

// testCatchUpRestarted is away while the others go on.
func testCatchUpRestarted(t *testing.T) {
	cluster := harness.StartCluster(t, shortLog, three...)
	s := follower(t, cluster)
	s.Kill()
	client := httpClient(t, cluster.Others(s)[0])
	write(t, client, "away", 700, 1000)
	s.Restart(t)
	wantSnapshot(t, s)
	sameHashes(t, cluster)
	// It can lead with what it has got.
	_, err := httpClient(t, leader(t, cluster)).MoveLeader(timeout(t),
		memberID(t, s))
	if err != nil {
		t.Error(err)
	}
	write(t, httpClient(t, s), "as the leader", 300, 1000)
	sameHashes(t, cluster)
}

// testCatchUpKilled kills the member again and again while it gets a snapshot,
// stores it, makes its store of it.
func testCatchUpKilled(t *testing.T) {
	seed := seed()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	cluster := harness.StartCluster(t, shortLog, three...)
	s := follower(t, cluster)
	write(t, httpClient(t, cluster.Others(s)[0]), "much", 100, 100000)
	for round := range 2 * len(killMoments) {
		s.Kill()
		write(t, httpClient(t, cluster.Others(s)[0]), "away", 400, 1000)
		// Who has sent a snapshot keeps what follows for a while: without that,
		// this one needs another.
		cluster.Kill()
		for _, other := range cluster.Others(s) {
			if err := other.Launch(); err != nil {
				t.Fatal(err)
			}
		}
		leader(t, cluster)
		before := len(s.Log())
		if err := s.Launch(); err != nil {
			t.Fatal(err)
		}
		moment := killMoments[round%len(killMoments)]
		if !harness.Eventually(harness.Patience(), func() bool {
			return strings.Contains(s.Log()[before:], moment)
		}) {
			t.Fatalf("round %d: nothing is %s", round, moment)
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		s.Kill()
		// Again, on what that has left.
		if rng.IntN(2) == 0 {
			if err := s.Launch(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
			s.Kill()
		}
	}
	s.Restart(t)
	wantSnapshot(t, s)
	sameHashes(t, cluster)
	// The next records of the log let go of what the crashes have left.
	write(t, httpClient(t, s), "more", 400, 1000)
	left := func() (names []string) {
		for _, pattern := range []string{"*.new", "*.tmp", "*.old",
			"snap/*.snap.db*"} {
			found, _ := filepath.Glob(filepath.Join(s.DataDir, "member",
				pattern))
			names = append(names, found...)
		}
		return names
	}
	if !harness.Eventually(harness.Patience(), func() bool {
		return len(left()) == 0
	}) {
		t.Errorf("left behind: %v", left())
	}
}

// killMoments are lines of the log after which the member is killed.
var killMoments = []string{"starting", "receiving database snapshot",
	"received and saved database snapshot", "applying snapshot",
	"applied snapshot"}

// testCatchUpJoining adds members to a cluster whose log doesn't begin at the
// beginning.
func testCatchUpJoining(t *testing.T) {
	cluster := harness.StartCluster(t, shortLog, "")
	client := httpClient(t, cluster.Members[0])
	write(t, client, "first", 500, 1000)
	for range 2 {
		s := cluster.Join("")
		// The others have to have been connected for a while.
		var err error
		if !harness.Eventually(harness.Patience(), func() bool {
			_, err = client.MemberAdd(timeout(t), []string{s.PeerURL})
			return err == nil
		}) {
			t.Fatal(err)
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		wantSnapshot(t, s)
		write(t, httpClient(t, s), "joined", 200, 1000)
	}
	sameHashes(t, cluster)
	list, err := client.MemberList(timeout(t))
	if err != nil || len(list.Members) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}
