package api

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"chorad.tests/api/harness"
	"chorad.tests/api/lockstep"
)

func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano() % 1_000_000_000)
}

// play runs one seeded sequence against a fresh pair of servers.
func play(t *testing.T, binary string, seed uint64, ops int,
	mutator *lockstep.Mutator) (*lockstep.Player, error) {
	t.Helper()
	tested := harness.Start(t, harness.Options{Binary: binary,
		DataDir: filepath.Join(harness.Memory(t), "data")})
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd"),
		DataDir: filepath.Join(harness.Memory(t), "data")})
	defer tested.Kill()
	defer etcd.Kill()
	name := "etcd (tested)"
	if tested.IsChorad() {
		name = "chorad"
	}
	a, err := lockstep.Dial(name, tested.Endpoint, mutator)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := lockstep.Dial("etcd", etcd.Endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	player := lockstep.NewPlayer(a, b, seed)
	player.Skip = strings.Split(*skipFlag, ",")
	if mutator == nil {
		player.Restart = restarts(tested, etcd)
	}
	err = player.Play(ops)
	if err != nil && strings.Contains(etcd.Log(), etcdLosesRevision) {
		err = fmt.Errorf("%w: %w", errEtcdCrashed, err)
	}
	return player, err
}

// etcd ends with this text when it reads at the revision of a compaction of
// which its index and its store kept different parts.
const etcdLosesRevision = "range failed to find revision pair"

var errEtcdCrashed = errors.New("the real etcd has crashed")

// restarts ends both servers, by turns gently and not, and starts them again.
func restarts(servers ...*harness.Server) func() error {
	gently := false
	return func() error {
		gently = !gently
		for _, s := range servers {
			if gently {
				_, _ = s.Stop(syscall.SIGTERM, 15*time.Second)
			} else {
				s.Kill()
			}
			if err := s.Run(); err != nil {
				return fmt.Errorf("restart of %s: %w\n%s", s.Binary, err,
					s.LogTail(20))
			}
		}
		return nil
	}
}

// TestDifferential plays thousands of random operations into the server and
// the real etcd and finds every answer and every watch event equal.
func TestDifferential(t *testing.T) {
	s := seed()
	t.Logf("seed %d; replay: -run TestDifferential -seed %d -ops %d", s, s,
		*opsFlag)
	player, err := play(t, "", s, *opsFlag, nil)
	for more := 3; more > 0 && errors.Is(err, errEtcdCrashed); more-- {
		t.Logf("seed %d says nothing: %.200s", s, err)
		s++
		player, err = play(t, "", s, *opsFlag, nil)
	}
	if err != nil {
		t.Fatalf("seed %d: %v", s, err)
	}
	t.Logf("%d operations, %d watch events equal", *opsFlag, player.Events)
	for _, counts := range []map[string]int{player.Steps, player.Statuses} {
		var names []string
		for name := range counts {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			t.Logf("%6d %.150s", counts[name], name)
		}
	}
	if *opsFlag >= 2000 && player.Events < 1000 {
		t.Errorf("only %d watch events were seen", player.Events)
	}
}

// TestDifferentialDetects falsifies single answers and expects the comparison
// to find each of them; it runs etcd against etcd.
func TestDifferentialDetects(t *testing.T) {
	defer func(usual time.Duration) { lockstep.Patience = usual }(
		lockstep.Patience)
	lockstep.Patience = time.Second
	for _, what := range lockstep.Mutations {
		t.Run(what, func(t *testing.T) {
			mutator := &lockstep.Mutator{What: what, Nth: 5}
			_, err := play(t, harness.Tool(t, "etcd"), 42, 500, mutator)
			var mismatch *lockstep.Mismatch
			switch {
			case mutator.Hits != 1:
				t.Fatalf("the answer was falsified %d times: %v", mutator.Hits,
					err)
			case !errors.As(err, &mismatch):
				t.Fatalf("not detected: %v", err)
			}
			t.Logf("detected at operation %d: %.200s", mismatch.Index,
				mismatch.Diff)
		})
	}
}
