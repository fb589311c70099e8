package api

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// TestTakeover starts chorad on directories that real etcds left.
func TestTakeover(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("about chorad's way to begin on etcd's data")
	}
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run("killed "+version, func(t *testing.T) {
			testTakeover(t, version)
		})
	}
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7", "chorad"} {
		t.Run("of a failed start of "+version, func(t *testing.T) {
			testFailedStart(t, version)
		})
	}
	t.Run("refused with data but no log", testTakeoverNoLog)
	t.Run("refused while etcd runs", testTakeoverBusy)
	t.Run("etcd goes on until the log is cut", testTakeoverBack)
}

func etcdOf(t *testing.T, version string) string {
	t.Helper()
	if version == "3.7" {
		return harness.Tool(t, "etcd")
	}
	return harness.OldTool(t, "etcd-"+version)
}

// fillAll fills a store with everything that one can hold; the alarm comes
// last, because nothing can be put after it.
func fillAll(t *testing.T, client *clientv3.Client, rng *rand.Rand) {
	t.Helper()
	fillStore(t, client, rng)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.UserAdd(timeout(t), "root", "secret")
	check(err)
	_, err = client.UserAdd(timeout(t), "reader", "also secret")
	check(err)
	_, err = client.RoleAdd(timeout(t), "readers")
	check(err)
	_, err = client.RoleGrantPermission(timeout(t), "readers", "/a/", "/a0",
		clientv3.PermissionType(clientv3.PermRead))
	check(err)
	_, err = client.UserGrantRole(timeout(t), "reader", "readers")
	check(err)
	_, err = pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(
		timeout(t), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE,
			Alarm: pb.AlarmType_NOSPACE, MemberID: 77})
	check(err)
}

// disarm takes back fillAll's alarm.
func disarm(t *testing.T, client *clientv3.Client) {
	t.Helper()
	_, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(
		timeout(t), &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE,
			Alarm: pb.AlarmType_NOSPACE, MemberID: 77})
	if err != nil {
		t.Fatal(err)
	}
}

func headRevision(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	head, err := client.Get(timeout(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	return head.Header.Revision
}

func testTakeover(t *testing.T, version string) {
	// Few entries between snapshots, so that .snap files play their part.
	s := harness.Start(t, harness.Options{Binary: etcdOf(t, version),
		Args: []string{"--snapshot-count", "300"}})
	client := httpClient(t, s)
	seed := seed()
	t.Logf("seed %d", seed)
	fillAll(t, client, rand.New(rand.NewPCG(seed, 0)))
	rev := headRevision(t, client)
	revs := []int64{rev - 900, rev - 500, rev - 77, rev - 1, rev}
	before := content(t, client, revs)
	status, err := client.Status(timeout(t), s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	members, err := client.MemberList(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	file := save(t, s)
	s.Kill()

	s.SetBinary(harness.Chorad(t))
	s.SetArgs()
	s.Restart(t)
	after := content(t, client, revs)
	if version == "3.4" || version == "3.5" {
		before, after = withoutHashes(before), withoutHashes(after)
	}
	sameContent(t, before, after)
	now, err := client.Status(timeout(t), s.Endpoint)
	if err != nil || now.Header.ClusterId != status.Header.ClusterId ||
		now.Header.MemberId != status.Header.MemberId ||
		now.RaftTerm <= status.RaftTerm || now.RaftIndex <= status.RaftIndex ||
		now.StorageVersion != "3.7.0" {
		t.Errorf("status %v after %v, %v", now, status, err)
	}
	again, err := client.MemberList(timeout(t))
	if err != nil || fmt.Sprint(again.Members) != fmt.Sprint(members.Members) {
		t.Errorf("members %v after %v, %v", again, members, err)
	}
	// Every record, users and roles among them, byte for byte.
	except := []string{"meta/term", "meta/consistent_index"}
	if version != "3.7" {
		except = append(except, "meta/confState", "meta/storageVersion",
			"cluster/clusterVersion")
	}
	sameBuckets(t, file, save(t, s), except...)
	disarm(t, client)
	put, err := client.Put(timeout(t), "next", "x")
	if err != nil || put.Header.Revision != rev+1 {
		t.Errorf("put at %v, %v; not %d", put, err, rev+1)
	}
	// And so it is after one more start.
	s.Kill()
	s.Restart(t)
	if got := headRevision(t, client); got != rev+1 {
		t.Errorf("revision %d after a restart", got)
	}
}

// testFailedStart begins on directories whose first start failed: for a cluster
// without this member, and one that none of the members named answers for.
func testFailedStart(t *testing.T, version string) {
	for _, wrong := range []string{"other=%s", "default=%s,b=http://127.0.0.1:9"} {
		binary := harness.Chorad(t)
		if version != "chorad" {
			binary = etcdOf(t, version)
		}
		s := harness.New(t, harness.Options{Binary: binary})
		right := s.Cluster
		s.Cluster = fmt.Sprintf(wrong, s.PeerURL)
		s.Existing = strings.Contains(wrong, ",")
		if err := s.Launch(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Exited():
		case <-time.After(harness.Patience()):
			t.Fatalf("%s with %q goes on: %s", version, s.Cluster, s.LogTail(5))
		}
		if s.ExitError() == nil {
			t.Fatal("no error")
		}
		s.SetBinary(harness.Chorad(t))
		s.Cluster, s.Existing = right, false
		s.Restart(t)
		put, err := httpClient(t, s).Put(timeout(t), "a", "b")
		if err != nil || put.Header.Revision != 2 {
			t.Errorf("put: %v, %v", put, err)
		}
		note := filepath.Join(s.DataDir, "README.chorad")
		if _, err := os.Stat(note); err == nil {
			t.Error("a note of a takeover, but nothing was there")
		}
		s.Kill()
		s.Restart(t)
		if got := headRevision(t, httpClient(t, s)); got != 2 {
			t.Errorf("revision %d after a restart", got)
		}
	}
}

// testTakeoverNoLog takes the log away from a member's database, which then
// stays refused: what is in it would be mixed into another cluster.
func testTakeoverNoLog(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		s := harness.Start(t, harness.Options{Binary: etcdOf(t, version)})
		if _, err := httpClient(t, s).Put(timeout(t), "a", "b"); err != nil {
			t.Fatal(err)
		}
		_, _ = s.Stop(syscall.SIGTERM, 10*time.Second)
		err := os.RemoveAll(filepath.Join(s.DataDir, "member", "wal"))
		if err != nil {
			t.Fatal(err)
		}
		s.SetBinary(harness.Chorad(t))
		if err := s.Launch(); err != nil {
			t.Fatal(err)
		}
		<-s.Exited()
		if s.ExitError() == nil || !strings.Contains(s.Log(), "but no log") {
			t.Errorf("%s: %v: %s", version, s.ExitError(), s.LogTail(3))
		}
	}
}

func testTakeoverBusy(t *testing.T) {
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	chorad := harness.New(t, harness.Options{DataDir: etcd.DataDir})
	if err := chorad.Launch(); err != nil {
		t.Fatal(err)
	}
	<-chorad.Exited()
	if chorad.ExitError() == nil ||
		!strings.Contains(chorad.Log(), "stop etcd first") {
		t.Errorf("%v: %s", chorad.ExitError(), chorad.LogTail(5))
	}
	if _, err := httpClient(t, etcd).Put(timeout(t), "a", "b"); err != nil {
		t.Error(err)
	}
}

// testTakeoverBack holds the note that chorad leaves to what it says: etcd 3.7
// goes on with what chorad wrote as long as the log reaches back, and chorad
// after it; once the log is cut etcd refuses, in those words.
func testTakeoverBack(t *testing.T) {
	etcd, chorad := harness.Tool(t, "etcd"), harness.Chorad(t)
	s := harness.Start(t, harness.Options{Binary: etcd})
	client := httpClient(t, s)
	want := []string{}
	put := func(n int, who string) {
		t.Helper()
		for i := range n {
			key := fmt.Sprintf("%s%04d", who, i)
			if _, err := client.Put(timeout(t), key, who); err != nil {
				t.Fatal(err)
			}
			want = append(want, key)
		}
	}
	check := func(who string) {
		t.Helper()
		got, err := client.Get(timeout(t), "", clientv3.WithPrefix(),
			clientv3.WithCountOnly())
		if err != nil || got.Count != int64(len(want)) {
			t.Fatalf("%s has %v of %d keys, %v", who, got, len(want), err)
		}
	}
	put(20, "a")
	for i, binary := range []string{chorad, etcd, chorad} {
		s.Kill()
		s.SetBinary(binary)
		s.Restart(t)
		check(binary)
		put(20, fmt.Sprint("b", i))
	}
	note, err := os.ReadFile(filepath.Join(s.DataDir, "README.chorad"))
	if err != nil || !strings.Contains(string(note), s.DataDir) {
		t.Fatalf("the note: %s, %v", note, err)
	}
	s.Kill()
	s.SetArgs("--snapshot-count", "50")
	s.Restart(t)
	put(200, "c")
	if !s.WaitLog("saved snapshot to the log", 10*time.Second) {
		t.Fatal("no snapshot")
	}
	s.Kill()
	s.SetBinary(etcd)
	if err := s.Run(); err == nil {
		t.Fatal("etcd starts behind the end of its database")
	}
	s.Kill()
	refusal := "failed to find database snapshot file"
	if !strings.Contains(s.Log(), refusal) ||
		!strings.Contains(strings.ReplaceAll(string(note), "\n", " "),
			refusal) {
		t.Errorf("the note says\n%s\nand etcd\n%s", note, s.LogTail(5))
	}
	s.SetBinary(chorad)
	s.Restart(t)
	check(chorad)
}
