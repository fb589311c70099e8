package api

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"chorad.tests/api/harness"
)

// strangeMember makes a cluster, not running, in which the third member has
// other values than the others, and none of them has a reason to notice: it
// comes from a cluster with the same ids and as many entries.
func strangeMember(t *testing.T) (*harness.Cluster, uint64) {
	t.Helper()
	cluster := harness.NewCluster(t, harness.Options{}, three...)
	strange := cluster.Members[2]
	// Both begin in the same way, and with as many entries.
	type beginning struct{ term, index, id uint64 }
	live := func(value string, more int) (begun beginning) {
		for _, s := range cluster.Members {
			if err := os.RemoveAll(s.DataDir); err != nil {
				t.Fatal(err)
			}
		}
		if err := cluster.Run(); err != nil {
			t.Fatal(err)
		}
		for _, s := range cluster.Members {
			if !s.WaitLog("updated storage version", harness.Patience()) {
				t.Fatalf("%s has no version", s.Name)
			}
		}
		client := httpClient(t, cluster.Members[0])
		put := func(n int) {
			for i := range n {
				_, err := client.Put(timeout(t), "key", fmt.Sprint(value, i))
				if err != nil {
					t.Fatal(err)
				}
			}
			sameHashes(t, cluster)
		}
		put(5)
		status, err := memberStatus(strange)
		if err != nil {
			t.Fatal(err)
		}
		put(more)
		for _, s := range cluster.Members {
			_ = s.Signal(syscall.SIGKILL)
		}
		cluster.Kill()
		return beginning{status.RaftTerm, status.RaftAppliedIndex,
			status.Header.MemberId}
	}
	kept := strange.DataDir + ".kept"
	for range 20 {
		theirs := live("theirs", 0)
		if err := os.Rename(strange.DataDir, kept); err != nil {
			t.Fatal(err)
		}
		ours := live("ours", 5)
		if err := os.RemoveAll(strange.DataDir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(kept, strange.DataDir); err != nil {
			t.Fatal(err)
		}
		if theirs == ours {
			return cluster, ours.id
		}
		t.Logf("%+v and %+v: once more", theirs, ours)
	}
	t.Fatal("they never begin in the same way")
	return nil, 0
}

// alarmed waits for the alarm on that member; 0: on any.
func alarmed(t *testing.T, cluster *harness.Cluster, id uint64) {
	t.Helper()
	var got *pb.AlarmResponse
	if !harness.Eventually(harness.Patience(), func() bool {
		client := httpClient(t, cluster.Members[0])
		defer client.Close()
		list, err := client.AlarmList(timeout(t))
		got = (*pb.AlarmResponse)(list)
		return err == nil && len(got.Alarms) == 1 &&
			got.Alarms[0].Alarm == pb.AlarmType_CORRUPT &&
			(id == 0 || got.Alarms[0].MemberID == id)
	}) {
		t.Errorf("alarms %v, member %d is corrupt", got, id)
	}
	_, err := httpClient(t, cluster.Members[0]).Put(timeout(t), "key", "")
	if err == nil || !strings.Contains(err.Error(), "corrupt cluster") {
		t.Errorf("a put to a corrupt cluster: %v", err)
	}
}

// TestCorruptMember has a member that stores something else than the others:
// each of the checks finds it.
func TestCorruptMember(t *testing.T) {
	cluster, id := strangeMember(t)
	strange := cluster.Members[2]
	restart := func(args ...string) {
		t.Helper()
		cluster.Kill()
		for _, s := range cluster.Members {
			s.SetArgs(args...)
		}
		if err := cluster.Run(); err != nil {
			t.Fatal(err)
		}
	}

	// At its start, with the others there.
	for _, s := range cluster.Others(strange) {
		if err := s.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range cluster.Others(strange) {
		if err := s.WaitReady(); err != nil {
			t.Fatal(err)
		}
	}
	strange.SetArgs("--feature-gates", "InitialCorruptCheck=true")
	if err := strange.Run(); err == nil ||
		!strings.Contains(strange.Log(),
			"found data inconsistency with peers") {
		t.Errorf("the corrupt member starts: %v\n%s", err, strange.LogTail(5))
	}

	// With what is stored at a compaction.
	restart("--feature-gates", "CompactHashCheck=true",
		"--compact-hash-check-time", "1s")
	_, err := httpClient(t, strange).Compact(timeout(t), 5)
	if err != nil {
		t.Fatal(err)
	}
	alarmed(t, cluster, id)
	_, err = pb.NewMaintenanceClient(plain(t, strange)).Alarm(timeout(t),
		&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: id,
			Alarm: pb.AlarmType_CORRUPT})
	if err != nil {
		t.Fatal(err)
	}

	// From time to time: whoever leads believes itself.
	restart("--corrupt-check-time", "1s")
	alarmed(t, cluster, 0)
}

// TestCorruptChecks lets all checks look at a sound cluster that is busy.
func TestCorruptChecks(t *testing.T) {
	cluster := harness.StartCluster(t, harness.Options{Args: []string{
		"--feature-gates", "CompactHashCheck=true,InitialCorruptCheck=true",
		"--compact-hash-check-time", "300ms", "--corrupt-check-time",
		"300ms"}}, three...)
	stop := busy(t, cluster.Members)
	for range 8 {
		client := httpClient(t, cluster.Members[0])
		got, err := client.Get(timeout(t), "x")
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Compact(timeout(t), got.Header.Revision)
		if err != nil {
			t.Error(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	stop()
	follower(t, cluster).Kill()
	for _, s := range cluster.Members {
		if !s.Alive() {
			s.Restart(t)
		}
	}
	log := leader(t, cluster).Log()
	for _, line := range []string{"finished peer corruption check",
		"finished compaction hash check"} {
		if strings.Count(log, line) < 2 {
			t.Errorf("the leader says %q %d times", line,
				strings.Count(log, line))
		}
	}
	list, err := httpClient(t, cluster.Members[0]).AlarmList(timeout(t))
	if err != nil || len(list.Alarms) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	sameHashes(t, cluster)
}
