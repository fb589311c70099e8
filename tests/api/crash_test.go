package api

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// TestCrash kills the server with SIGKILL under load, again and again, and
// finds every acknowledged write there each time, no revision twice and the
// watch history whole.
func TestCrash(t *testing.T) {
	s := seed()
	t.Logf("seed %d", s)
	rng := rand.New(rand.NewPCG(s, 0))
	// Few entries between snapshots, so that the log is cut as well.
	server := harness.Start(t, harness.Options{Args: []string{
		"--snapshot-count", "300"}})
	book := ledger.NewBook(s, 12)
	for round := range *roundsFlag {
		after := time.Duration(50+rng.IntN(900)) * time.Millisecond
		killer := time.AfterFunc(after, server.Kill)
		ctx, cancel := context.WithTimeout(context.Background(),
			30*time.Second)
		err := book.Load(ctx, server.Endpoint)
		cancel()
		killer.Stop()
		if err != nil {
			t.Fatal(err)
		}
		<-server.Exited()
		early := 0
		for ; rng.IntN(3) == 0; early++ {
			killStarting(t, server, rng)
		}
		server.Restart(t)
		if err := book.Verify(server.Endpoint); err != nil {
			t.Fatalf("seed %d, round %d, killed after %v, then %d times while "+
				"starting: %v", s, round, after, early, err)
		}
		t.Logf("round %d: killed after %v and %d times while starting; "+
			"%d writes acknowledged so far", round, after, early,
			book.Acknowledged())
	}
	if book.Acknowledged() < 10**roundsFlag {
		t.Errorf("too few writes: %d", book.Acknowledged())
	}
}

// killStarting starts the server and kills it before or soon after it is
// ready.
func killStarting(t *testing.T, server *harness.Server, rng *rand.Rand) {
	t.Helper()
	if err := server.Launch(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond)
	server.Kill()
}

// TestCrashDetects swaps the data of the server for an older copy and expects
// the book to notice.
func TestCrashDetects(t *testing.T) {
	server := harness.Start(t, harness.Options{})
	book := ledger.NewBook(seed(), 4)
	load := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(),
			300*time.Millisecond)
		defer cancel()
		if err := book.Load(ctx, server.Endpoint); err != nil {
			t.Fatal(err)
		}
		server.Kill()
	}
	load()
	copied := harness.Command(t, time.Minute, "", nil, "cp", "-r",
		server.DataDir, server.DataDir+".old")
	if copied.Code != 0 {
		t.Fatal(copied.Stderr)
	}
	server.Restart(t)
	if err := book.Verify(server.Endpoint); err != nil {
		t.Fatal(err)
	}
	load()
	swapped := harness.Command(t, time.Minute, "", nil, "sh", "-c",
		`rm -rf "$1" && mv "$1.old" "$1"`, "sh", server.DataDir)
	if swapped.Code != 0 {
		t.Fatal(swapped.Stderr)
	}
	server.Restart(t)
	err := book.Verify(server.Endpoint)
	if err == nil {
		t.Fatal("the loss of acknowledged writes isn't noticed")
	}
	t.Logf("noticed: %.200v", err)
}
