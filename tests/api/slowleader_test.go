package api

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// slowCluster starts three members of which each can be made slow: then each
// sync of its log takes so long.
func slowCluster(t *testing.T, delay time.Duration) (
	cluster *harness.Cluster, slow func(s *harness.Server, on bool)) {
	t.Helper()
	library := faultLibrary(t)
	dir := harness.TempDir(t)
	cluster = harness.NewCluster(t, harness.Options{}, three...)
	for _, s := range cluster.Members {
		s.SetEnv("LD_PRELOAD="+library,
			"FAULTIO_MATCH="+s.DataDir+"/member/wal", "FAULTIO_OP=fsync",
			"FAULTIO_NTH=1", "FAULTIO_STICKY=1",
			fmt.Sprint("FAULTIO_DELAY_MS=", delay.Milliseconds()),
			"FAULTIO_ARM="+filepath.Join(dir, s.Name))
	}
	if err := cluster.Run(); err != nil {
		t.Fatal(err)
	}
	return cluster, func(s *harness.Server, on bool) {
		t.Helper()
		var err error
		if on {
			err = os.WriteFile(filepath.Join(dir, s.Name), nil, 0o600)
		} else {
			err = os.Remove(filepath.Join(dir, s.Name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowLeader gives the leader of three a slow disk: the others commit and
// acknowledge what it hasn't applied itself yet. Yet it knows all leases when it
// is asked about them.
func TestSlowLeader(t *testing.T) {
	cluster, slow := slowCluster(t, 300*time.Millisecond)
	lead := leader(t, cluster)
	slow(lead, true)
	client := httpClient(t, cluster.Others(lead)[0])
	for i := range 8 {
		lease, err := client.Grant(timeout(t), 60)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := client.KeepAliveOnce(timeout(t), lease.ID)
		if err != nil || kept.TTL != 60 {
			t.Errorf("a lease just granted, kept alive: %v, %v", kept, err)
		}
		key := fmt.Sprint("key", i)
		_, err = client.Put(timeout(t), key, "", clientv3.WithLease(lease.ID))
		if err != nil {
			t.Fatal(err)
		}
		left, err := client.TimeToLive(timeout(t), lease.ID,
			clientv3.WithAttachedKeys())
		if err != nil || len(left.Keys) != 1 || string(left.Keys[0]) != key {
			t.Errorf("a lease just put %s under: %v, %v", key, left, err)
		}
	}
	if now := leader(t, cluster); now != lead {
		t.Errorf("%s leads, not %s: nothing was tested", now.Name, lead.Name)
	}
}

// TestStalledLeader has the leader's disk stand still for longer than an
// election takes: it gives up leadership, the others go on without it, and
// the leases that they renew are not revoked by it.
func TestStalledLeader(t *testing.T) {
	cluster, slow := slowCluster(t, 4*time.Second)
	stalled := leader(t, cluster)
	others := cluster.Others(stalled)
	client, err := clientv3.New(clientv3.Config{Logger: quiet,
		Endpoints: []string{others[0].Endpoint, others[1].Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lease, err := client.Grant(timeout(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Put(timeout(t), "kept", "", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	keeping, stopKeeping := context.WithCancel(context.Background())
	defer stopKeeping()
	alive, err := client.KeepAlive(keeping, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		for range alive {
		}
		close(ended)
	}()

	slow(stalled, true)
	began := time.Now()
	for time.Since(began) < 3500*time.Millisecond {
		limited, cancel := context.WithTimeout(context.Background(),
			4*time.Second)
		_, err := client.Put(limited, "busy", "")
		cancel()
		if err != nil {
			t.Errorf("a put after %v: %v", time.Since(began), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !stalled.WaitLog("this member gives up leadership", time.Second) {
		t.Error("the leader with the stalled disk says nothing")
	}
	if leader(t, cluster) == stalled {
		t.Error("it still leads")
	}
	slow(stalled, false)
	// Whatever it had in mind before, it writes now.
	if _, err := httpClient(t, stalled).Put(timeout(t), "again", ""); err != nil {
		t.Error(err)
	}
	time.Sleep(2500 * time.Millisecond)
	select {
	case <-ended:
		t.Error("the lease that was kept alive has ended")
	default:
	}
	got, err := client.Get(timeout(t), "kept")
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("the key of the lease that was kept alive: %v, %v", got, err)
	}
	stopKeeping()
	sameHashes(t, cluster)
}
