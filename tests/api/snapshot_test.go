package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// TestSnapshot saves what a server holds and looks at it with etcd's tools.
func TestSnapshot(t *testing.T) {
	t.Run("restored by etcd", testSnapshotRestored)
	t.Run("empty", testSnapshotEmpty)
	t.Run("messages", testSnapshotMessages)
	t.Run("under load", testSnapshotUnderLoad)
	t.Run("clients that go or stall", testSnapshotAbandoned)
}

// fillStore writes keys with several revisions, deletes and compacts.
func fillStore(t *testing.T, client *clientv3.Client, rng *rand.Rand) {
	t.Helper()
	put := func(key string, size int, opts ...clientv3.OpOption) {
		t.Helper()
		value := strings.Repeat(fmt.Sprintf("%020d", rng.Uint64()),
			size/20+1)[:size]
		_, err := client.Put(timeout(t), key, value, opts...)
		if err != nil {
			t.Fatal(err)
		}
	}
	lease, err := client.Grant(timeout(t), 5000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1500 {
		put(fmt.Sprintf("key%03d", rng.IntN(500)), rng.IntN(300))
		if i%20 == 0 {
			put(fmt.Sprintf("leased%02d", i/20), 30,
				clientv3.WithLease(lease.ID))
		}
		if i%100 == 0 {
			put(fmt.Sprintf("large%d", i), 3000+i*100)
		}
		if i%50 == 49 {
			key := fmt.Sprintf("key%02d", rng.IntN(50))
			_, err := client.Delete(timeout(t), key, clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
		}
		if i == 500 {
			head, err := client.Get(timeout(t), "x")
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Compact(timeout(t), head.Header.Revision-20,
				clientv3.WithCompactPhysical())
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func save(t *testing.T, s *harness.Server) string {
	t.Helper()
	file := filepath.Join(harness.TempDir(t), "snapshot.db")
	saved := harness.Command(t, time.Minute, "", nil,
		harness.Tool(t, "etcdctl"), "--endpoints", s.Endpoint, "snapshot",
		"save", file)
	if saved.Code != 0 {
		t.Fatalf("snapshot save: %s", saved.Stderr)
	}
	return file
}

type snapshotStatus struct {
	Revision  int64  `json:"revision"`
	TotalKey  int64  `json:"totalKey"`
	TotalSize int64  `json:"totalSize"`
	Version   string `json:"version"`
}

// statusOf lets etcdutl check the file, each of its pages included.
func statusOf(t *testing.T, file string) (status snapshotStatus) {
	t.Helper()
	got := harness.Command(t, time.Minute, "", nil,
		harness.Tool(t, "etcdutl"), "snapshot", "status", file, "-w", "json")
	if got.Code != 0 {
		t.Fatalf("snapshot status: %s", got.Stderr)
	}
	if err := json.Unmarshal([]byte(got.Stdout), &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// restore makes a directory of the file and starts the real etcd on it.
func restore(t *testing.T, file string) *harness.Server {
	t.Helper()
	etcd := harness.New(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	restored := harness.Command(t, time.Minute, "", nil,
		harness.Tool(t, "etcdutl"), "snapshot", "restore", file,
		"--data-dir", etcd.DataDir, "--name", "default",
		"--initial-cluster", "default="+etcd.PeerURL,
		"--initial-advertise-peer-urls", etcd.PeerURL)
	if restored.Code != 0 {
		t.Fatalf("snapshot restore: %s", restored.Stderr)
	}
	if err := etcd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, etcd.LogTail(10))
	}
	return etcd
}

func testSnapshotRestored(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	seed := seed()
	t.Logf("seed %d", seed)
	fillStore(t, client, rand.New(rand.NewPCG(seed, 0)))
	raise := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE,
		Alarm: pb.AlarmType_NOSPACE, MemberID: 77}
	_, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(
		timeout(t), raise)
	if err != nil {
		t.Fatal(err)
	}
	count, err := client.Get(timeout(t), "", clientv3.WithPrefix(),
		clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	rev := count.Header.Revision
	file := save(t, s)
	status := statusOf(t, file)
	if status.Revision != rev || status.TotalKey < count.Count ||
		status.Version != "3.7.0" {
		t.Errorf("status %+v of revision %d with %d keys", status, rev,
			count.Count)
	}
	revs := []int64{rev - 900, rev - 500, rev - 77, rev - 1, rev}
	before := content(t, client, revs)
	etcd := restore(t, file)
	after := httpClient(t, etcd)
	sameContent(t, before, content(t, after, revs))
	members, err := after.MemberList(timeout(t))
	if err != nil || len(members.Members) != 1 ||
		members.Members[0].PeerURLs[0] != etcd.PeerURL {
		t.Errorf("members %v, %v", members, err)
	}
	// It goes on from there, in pages that it has to split and to merge.
	_, _ = pb.NewMaintenanceClient(after.ActiveConnection()).Alarm(timeout(t),
		&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE,
			Alarm: pb.AlarmType_NOSPACE, MemberID: 77})
	fillStore(t, after, rand.New(rand.NewPCG(seed, 1)))
	if again := statusOf(t, save(t, etcd)); again.Revision <= rev {
		t.Errorf("status %+v after more writes", again)
	}
}

func testSnapshotEmpty(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	file := save(t, s)
	if status := statusOf(t, file); status.TotalKey != 0 {
		t.Errorf("status %+v", status)
	}
	got, err := httpClient(t, restore(t, file)).Get(timeout(t), "a")
	if err != nil || got.Header.Revision != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func testSnapshotMessages(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	_, err := client.Put(timeout(t), "large", strings.Repeat("x", 900000))
	if err != nil {
		t.Fatal(err)
	}
	maintenance := pb.NewMaintenanceClient(client.ActiveConnection())
	// A new cluster agrees on its version just after the start.
	if !harness.Eventually(10*time.Second, func() bool {
		status, err := maintenance.Status(timeout(t), &pb.StatusRequest{})
		return err == nil && status.StorageVersion != ""
	}) {
		t.Fatal("the store has no version")
	}
	stream, err := maintenance.Snapshot(timeout(t), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var messages []*pb.SnapshotResponse
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, message)
	}
	sum := sha256.New()
	total := messages[0].RemainingBytes + uint64(len(messages[0].Blob))
	sent := uint64(0)
	for i, m := range messages[:len(messages)-1] {
		sum.Write(m.Blob)
		sent += uint64(len(m.Blob))
		if i < len(messages)-2 && len(m.Blob) != 32768 {
			t.Errorf("message %d has %d bytes", i, len(m.Blob))
		}
		if m.RemainingBytes != total-sent || m.Version != "3.7.0" ||
			m.Header != nil {
			t.Errorf("message %d: %d remain of %d, version %q, header %v", i,
				m.RemainingBytes, total-sent, m.Version, m.Header)
		}
	}
	last := messages[len(messages)-1]
	if sent != total || last.RemainingBytes != 0 ||
		last.Version != "3.7.0" || !bytes.Equal(last.Blob, sum.Sum(nil)) {
		t.Errorf("%d of %d bytes, then %d, %q, %x", sent, total,
			last.RemainingBytes, last.Version, last.Blob)
	}
}

// testSnapshotUnderLoad saves several at once while keys are put: each is
// whole, and has all that was acknowledged before it was asked for.
func testSnapshotUnderLoad(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	fillStore(t, client, rand.New(rand.NewPCG(1, 1)))
	ctx, cancel := context.WithCancel(context.Background())
	var load, saves sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			_, err := client.Put(timeout(t), "load", time.Now().String())
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 4 {
		got, err := client.Get(timeout(t), "load")
		if err != nil {
			t.Fatal(err)
		}
		saves.Go(func() {
			status := statusOf(t, save(t, s))
			if status.Revision < got.Header.Revision {
				t.Errorf("revision %d, after %d was there", status.Revision,
					got.Header.Revision)
			}
		})
	}
	saves.Wait()
	cancel()
	load.Wait()
}

// testSnapshotAbandoned opens many snapshots, reads a message of each or none
// and hangs up: nothing is left of them, and the server ends while some stall.
func testSnapshotAbandoned(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	for i := range 10 {
		_, err := client.Put(timeout(t), fmt.Sprint("large", i),
			strings.Repeat("x", 1000000))
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func(ctx context.Context) {
		t.Helper()
		stream, err := pb.NewMaintenanceClient(client.ActiveConnection()).
			Snapshot(ctx, &pb.SnapshotRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	makers := func() (n int) {
		names, _ := filepath.Glob(
			fmt.Sprintf("/proc/%d/task/*/comm", s.Pid()))
		for _, name := range names {
			comm, _ := os.ReadFile(name)
			if strings.TrimSpace(string(comm)) == "snapshot" {
				n++
			}
		}
		return n
	}
	for range 5 {
		ctx, cancel := context.WithCancel(context.Background())
		for range 6 {
			open(ctx)
		}
		if s.IsChorad() && makers() < 6 {
			t.Errorf("%d threads make 6 snapshots", makers())
		}
		cancel()
	}
	if !harness.Eventually(10*time.Second, func() bool {
		return makers() == 0
	}) {
		t.Errorf("%d threads still make snapshots", makers())
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	open(ctx)
	if _, err := client.Put(timeout(t), "more", "x"); err != nil {
		t.Error(err)
	}
	if !s.IsChorad() {
		return // etcd waits for the client
	}
	if _, err := s.Stop(os.Interrupt, 20*time.Second); err != nil {
		t.Error(err)
	}
}
