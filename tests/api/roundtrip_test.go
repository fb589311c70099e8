package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// TestRoundTrips carries a large store from etcd to chorad and on by each way
// that there is, and finds it the same after each.
func TestRoundTrips(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("about ways from etcd to chorad and back")
	}
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd"),
		Args: []string{"--snapshot-count", "3000"}})
	client := httpClient(t, etcd)
	seed := seed()
	t.Logf("seed %d", seed)
	revs := fillLarge(t, client, rand.New(rand.NewPCG(seed, 0)))
	var want []string
	within(t, "digest of etcd", func() { want = digests(t, client, revs) })
	first := save(t, etcd)
	member, cluster := ids(t, etcd)
	etcd.Kill()
	same := func(s *harness.Server, file string, except ...string) {
		t.Helper()
		sameContent(t, want, digests(t, httpClient(t, s), revs))
		sameBuckets(t, first, file, append(except, "meta/term",
			"meta/consistent_index")...)
	}

	chorad := etcd
	chorad.SetBinary(harness.Chorad(t))
	chorad.SetArgs()
	within(t, "start on etcd's directory", func() { chorad.Restart(t) })
	file := save(t, chorad)
	within(t, "etcd -> chorad", func() { same(chorad, file) })
	chorad.Kill()

	// What a restore sets anew: members of the new cluster.
	restored := []string{"members/", "meta/confState"}
	t.Run("chorad, snapshot, etcdutl, etcd", func(t *testing.T) {
		s := restore(t, file)
		same(s, save(t, s), restored...)
	})
	t.Run("chorad, snapshot, etcdctl 3.4, chorad", func(t *testing.T) {
		s := harness.New(t, harness.Options{})
		got := harness.Command(t, time.Minute, "", []string{"ETCDCTL_API=3"},
			harness.OldTool(t, "etcdctl-3.4"), "snapshot", "restore", file,
			"--data-dir", s.DataDir, "--name", "default",
			"--initial-cluster", "default="+s.PeerURL,
			"--initial-advertise-peer-urls", s.PeerURL)
		if got.Code != 0 {
			t.Fatal(got.Stderr)
		}
		s.Restart(t)
		same(s, save(t, s), restored...)
	})
	t.Run("chorad, export, etcd", func(t *testing.T) {
		to := filepath.Join(harness.TempDir(t), "etcd")
		mustTool(t, "export", "--data-dir", chorad.DataDir, "--to", to)
		chorad.SetBinary(harness.Tool(t, "etcd"))
		chorad.DataDir = to
		chorad.Restart(t)
		same(chorad, save(t, chorad))
		if a, b := ids(t, chorad); a != member || b != cluster {
			t.Errorf("member %x of cluster %x", a, b)
		}
	})
}

func within(t *testing.T, what string, do func()) {
	t.Helper()
	begin := time.Now()
	do()
	t.Logf("%s: %v", what, time.Since(begin).Round(time.Millisecond))
}

// fillLarge writes 200,000 keys, most of them twice, deletes some, compacts
// once in between; gives some revisions that are kept, oldest first.
func fillLarge(t *testing.T, client *clientv3.Client,
	rng *rand.Rand) []int64 {
	t.Helper()
	const keys, perTxn, writers = 200000, 120, 4
	leases := make([]clientv3.LeaseID, 50)
	for i := range leases {
		granted, err := client.Grant(timeout(t), int64(5000+i))
		if err != nil {
			t.Fatal(err)
		}
		leases[i] = granted.ID
	}
	pass := func(round, from, to int) {
		t.Helper()
		var all sync.WaitGroup
		next := make(chan int)
		for w := range writers {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			all.Go(func() {
				for at := range next {
					ops := make([]clientv3.Op, 0, perTxn)
					for i := at; i < min(at+perTxn, to); i++ {
						key := fmt.Sprintf("/registry/%07d", i)
						var opts []clientv3.OpOption
						if i%100 == 0 {
							opts = append(opts,
								clientv3.WithLease(leases[i/100%50]))
						}
						if round > 0 && rng.IntN(20) == 0 {
							ops = append(ops, clientv3.OpDelete(key))
						} else {
							ops = append(ops, clientv3.OpPut(key,
								fmt.Sprint(round, " ", rng.Uint64()), opts...))
						}
					}
					_, err := client.Txn(context.Background()).Then(
						ops...).Commit()
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		for at := from; at < to; at += perTxn {
			next <- at
		}
		close(next)
		all.Wait()
	}
	within(t, "fill", func() {
		pass(0, 0, keys)
		rev := headRevision(t, client)
		_, err := client.Compact(timeout(t), rev-100,
			clientv3.WithCompactPhysical())
		if err != nil {
			t.Fatal(err)
		}
		pass(1, 0, keys)
		pass(2, keys/2, keys*3/4)
	})
	fillAll(t, client, rng)
	rev := headRevision(t, client)
	compacted := rev - 900
	if _, err := client.Get(timeout(t), "x",
		clientv3.WithRev(compacted)); err != nil {
		t.Fatal(err)
	}
	return []int64{compacted, rev - 300, rev}
}

// digests sums up what a server holds, at the revisions: all keys, hashes at
// these and 20 more revisions, the history, leases, alarms.
func digests(t *testing.T, client *clientv3.Client, revs []int64) []string {
	t.Helper()
	var found []string
	for _, rev := range revs {
		all, err := client.Get(timeout(t), "", clientv3.WithPrefix(),
			clientv3.WithRev(rev))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		for _, kv := range all.Kvs {
			fmt.Fprintf(sum, "%q %q %d %d %d %x\n", kv.Key, kv.Value,
				kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
		}
		found = append(found, fmt.Sprintf("%d keys at %d: %x", all.Count, rev,
			sum.Sum(nil)))
	}
	oldest, newest := revs[0], revs[len(revs)-1]
	for i := range int64(20) {
		rev := oldest + (newest-oldest)*i/19
		hash, err := client.HashKV(timeout(t), client.Endpoints()[0], rev)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, fmt.Sprintf("hash at %d: %d, compacted %d", rev,
			hash.Hash, hash.CompactRevision))
	}
	for _, rev := range revs[:len(revs)-1] {
		found = append(found, history(t, client, rev, newest))
	}
	return append(found, leasesAndAlarms(t, client)...)
}

func history(t *testing.T, client *clientv3.Client, from, to int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sum := sha256.New()
	events := 0
	watched := client.Watch(ctx, "", clientv3.WithPrefix(),
		clientv3.WithRev(from), clientv3.WithPrevKV())
	for last := int64(0); last < to; {
		batch := <-watched
		if batch.Err() != nil || len(batch.Events) == 0 {
			t.Fatalf("watch from %d: %v", from, batch.Err())
		}
		for _, e := range batch.Events {
			fmt.Fprintf(sum, "%v %v %v\n", e.Type, e.Kv, e.PrevKv)
			last = e.Kv.ModRevision
			events++
		}
	}
	return fmt.Sprintf("%d events from %d: %x", events, from, sum.Sum(nil))
}

func leasesAndAlarms(t *testing.T, client *clientv3.Client) []string {
	t.Helper()
	var found []string
	leases, err := client.Leases(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, lease := range leases.Leases {
		left, err := client.TimeToLive(timeout(t), lease.ID,
			clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		if left.TTL <= 0 || left.TTL > left.GrantedTTL {
			t.Errorf("lease %x of %d s has %d s left", lease.ID,
				left.GrantedTTL, left.TTL)
		}
		slices.SortFunc(left.Keys, bytes.Compare)
		found = append(found, fmt.Sprintf("lease %016x: %d s, %d keys, %x",
			lease.ID, left.GrantedTTL, len(left.Keys),
			sha256.Sum256(bytes.Join(left.Keys, []byte{0}))))
	}
	slices.Sort(found)
	alarms, err := client.AlarmList(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal((*pb.AlarmResponse)(alarms).Alarms)
	if err != nil {
		t.Fatal(err)
	}
	return append(found, "alarms: "+string(text))
}
