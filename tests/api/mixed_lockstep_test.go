package api

import (
	"testing"

	"chorad.tests/api/harness"
	"chorad.tests/api/lockstep"
)

// TestMixedLockstep plays random operations into one member of a cluster of
// both kinds that a member of the other kind leads, and into an etcd that is
// alone: all answers are the same, and all members hold the same.
func TestMixedLockstep(t *testing.T) {
	t.Parallel()
	etcd := harness.Tool(t, "etcd")
	ops := 500
	t.Run("at chorad, led by etcd", func(t *testing.T) {
		playMixed(t, ops, []string{etcd, "", ""})
	})
	if harness.Slow() {
		ops = *opsFlag
		t.Run("at etcd, led by chorad", func(t *testing.T) {
			playMixed(t, ops, []string{"", etcd, etcd})
		})
	}
}

// playMixed lets the first one lead and plays into the second one.
func playMixed(t *testing.T, ops int, binaries []string) {
	s := seed()
	t.Logf("seed %d", s)
	cluster := harness.StartCluster(t, harness.Options{Args: []string{
		"--snapshot-count", "300", "--snapshot-catchup-entries", "50"}},
		binaries...)
	alone := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	lead(t, cluster, cluster.Members[0])
	a, err := lockstep.Dial("mixed", cluster.Members[1].Endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := lockstep.Dial("etcd", alone.Endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	player := lockstep.NewPlayer(a, b, s)
	player.Skip = []string{"members"}
	if err := player.Play(ops); err != nil {
		t.Fatalf("seed %d: %v", s, err)
	}
	t.Logf("%d operations, %d watch events equal", ops, player.Events)
	sameHashes(t, cluster)
}
