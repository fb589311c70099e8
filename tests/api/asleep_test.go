package api

import (
	"context"
	"syscall"
	"testing"
	"time"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// TestAsleep lets all members stand still for longer than an election takes,
// while their logs are being written: nobody's disk is slow because of that,
// and the leader goes on.
func TestAsleep(t *testing.T) {
	library := faultLibrary(t)
	cluster := harness.NewCluster(t, harness.Options{}, three...)
	for _, s := range cluster.Members {
		s.SetEnv("LD_PRELOAD="+library, "FAULTIO_MATCH=/member/wal",
			"FAULTIO_OP=fsync", "FAULTIO_NTH=1", "FAULTIO_STICKY=1",
			"FAULTIO_DELAY_MS=150")
	}
	if err := cluster.Run(); err != nil {
		t.Fatal(err)
	}
	first := leader(t, cluster)
	before, err := memberStatus(first)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	loaded := make(chan error, 1)
	book := ledger.NewBook(seed(), 8)
	go func() { loaded <- book.Load(ctx, cluster.Endpoints()...) }()
	for range 2 {
		time.Sleep(700 * time.Millisecond)
		signalAll(t, cluster, syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond)
		signalAll(t, cluster, syscall.SIGCONT)
	}
	time.Sleep(700 * time.Millisecond)
	stop()
	if err := <-loaded; err != nil {
		t.Error(err)
	}
	after, err := memberStatus(leader(t, cluster))
	if err != nil {
		t.Fatal(err)
	}
	if after.RaftTerm != before.RaftTerm {
		t.Errorf("term %d was %d before:\n%s", after.RaftTerm,
			before.RaftTerm, first.LogTail(8))
	}
	for _, s := range cluster.Members {
		if err := book.Verify(s.Endpoint); err != nil {
			t.Errorf("at %s: %v", s.Name, err)
		}
	}
}

func signalAll(t *testing.T, cluster *harness.Cluster, what syscall.Signal) {
	t.Helper()
	for _, s := range cluster.Members {
		if err := s.Signal(what); err != nil {
			t.Fatal(err)
		}
	}
}
