package api

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// TestRolling turns a living cluster of etcd into one of chorad, member by
// member and under load, and back.
func TestRolling(t *testing.T) {
	t.Parallel()
	etcd := harness.Tool(t, "etcd")
	t.Run("joining and leaving", func(t *testing.T) {
		t.Parallel()
		rolling(t, etcd, etcd, replaceMember)
	})
	t.Run("on its directory", func(t *testing.T) {
		t.Parallel()
		if !harness.IsChorad(harness.Chorad(t)) {
			t.Skip("about ways from etcd to chorad and back")
		}
		rolling(t, etcd, etcd, replaceProgram)
	})
	if !harness.Slow() {
		return
	}
	older := harness.OldTool(t, "etcd-3.6")
	t.Run("joining and leaving, from 3.6", func(t *testing.T) {
		t.Parallel()
		rolling(t, older, etcd, replaceMember)
	})
	t.Run("on its directory, from 3.6", func(t *testing.T) {
		t.Parallel()
		rolling(t, older, etcd, replaceProgram)
	})
}

// A replacement lets a member of another kind take one's place.
type replacement func(t *testing.T, cluster *harness.Cluster,
	load *ledger.Steady, old *harness.Server, binary string)

// rolling begins with members of one etcd and ends with those of another.
func rolling(t *testing.T, from, to string, replace replacement) {
	cluster := harness.StartCluster(t, harness.Options{Args: []string{
		"--snapshot-count", "1000", "--snapshot-catchup-entries", "200"}},
		from, from, from)
	leader(t, cluster)
	book, load := startLoad(t, cluster)
	for _, binary := range []string{harness.Chorad(t), to} {
		for i, old := range slices.Clone(cluster.Members) {
			begin, was := time.Now(), kind(old)
			led := leader(t, cluster) == old
			if led && i%2 == 0 {
				lead(t, cluster, cluster.Others(old)[0])
			}
			replace(t, cluster, load, old, binary)
			sameHashesNow(t, cluster)
			t.Logf("%s replaced by %s in %v, led before: %v", was,
				filepath.Base(binary), time.Since(begin), led)
		}
	}
	endLoad(t, cluster, book, load)
}

func startLoad(t *testing.T, cluster *harness.Cluster) (*ledger.Book,
	*ledger.Steady) {
	t.Helper()
	book := ledger.NewBook(0, 0)
	load, err := ledger.StartSteady(book, 6, cluster.Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { load.Stop() })
	return book, load
}

// endLoad wants nothing to be lost, and nothing to have failed twice.
func endLoad(t *testing.T, cluster *harness.Cluster, book *ledger.Book,
	load *ledger.Steady) {
	t.Helper()
	report := load.Stop()
	t.Logf("%d calls, %d acknowledged writes, the longest took %v",
		report.Calls, book.Acknowledged(), report.Longest)
	for _, err := range report.Retried {
		t.Logf("tried again: %v", err)
	}
	for _, err := range report.Failed {
		t.Error(err)
	}
	if book.Acknowledged() < 200 {
		t.Error("that is hardly any load")
	}
	auditAll(t, cluster, book, 0)
}

// replaceMember adds the new member before the old one is removed.
func replaceMember(t *testing.T, cluster *harness.Cluster,
	load *ledger.Steady, old *harness.Server, binary string) {
	at := cluster.Others(old)[0]
	addedMember(t, cluster, at, binary)
	load.SetEndpoints(living(cluster, old)...)
	removedMember(t, cluster, at, old)
}

// replaceProgram lets the other program go on with the member's directory. The
// clients are let know, or not and then lose their connections.
func replaceProgram(t *testing.T, cluster *harness.Cluster,
	load *ledger.Steady, s *harness.Server, binary string) {
	was := s.IsChorad()
	if !was {
		// etcd waits for its clients to leave.
		load.SetEndpoints(living(cluster, s)...)
		defer func() { load.SetEndpoints(cluster.Endpoints()...) }()
	}
	if _, err := s.Stop(syscall.SIGTERM, 20*time.Second); was && err != nil {
		t.Errorf("%s ends: %v", kind(s), err)
	}
	if was {
		to := filepath.Join(harness.TempDir(t), "etcd")
		mustTool(t, "export", "--data-dir", s.DataDir, "--to", to)
		s.DataDir = to
	}
	s.SetBinary(binary)
	s.Restart(t)
	leader(t, cluster)
}

// sameHashesNow is sameHashes under load: at one revision.
func sameHashesNow(t *testing.T, cluster *harness.Cluster) {
	t.Helper()
	revision := int64(0)
	hashes := map[string]uint32{}
	different := map[uint32]bool{}
	for _, s := range cluster.Members {
		client := httpClient(t, s)
		if revision == 0 {
			revision = headRevision(t, client)
		}
		headRevision(t, client)
		got, err := client.HashKV(timeout(t), s.Endpoint, revision)
		if err != nil {
			t.Fatalf("%s: %v", kind(s), err)
		}
		hashes[kind(s)] = got.Hash
		different[got.Hash] = true
	}
	if len(different) != 1 {
		t.Fatalf("the members differ at %d: %v", revision, hashes)
	}
}
