package api

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// TestTools runs chorad's offline tools, beside etcdutl where that has them.
func TestTools(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("etcd's are programs of their own")
	}
	t.Run("usage", testToolUsage)
	t.Run("status and hashkv", testToolPrints)
	t.Run("restore", testToolRestore)
	t.Run("restore refuses", testToolRestoreRefuses)
	t.Run("export", testToolExport)
	t.Run("check finds damage", testToolCheck)
	t.Run("defrag", testToolDefrag)
	t.Run("not while a member runs", testToolBusy)
}

func tool(t *testing.T, args ...string) harness.Result {
	t.Helper()
	return harness.Command(t, time.Minute, "", nil, harness.Chorad(t), args...)
}

// mustTool wants exit code 0 and gives what was printed.
func mustTool(t *testing.T, args ...string) string {
	t.Helper()
	got := tool(t, args...)
	if got.Code != 0 {
		t.Fatalf("chorad %v: exit code %d: %s%s", args, got.Code, got.Stdout,
			got.Stderr)
	}
	return got.Stdout
}

func etcdutl(t *testing.T, args ...string) harness.Result {
	t.Helper()
	return harness.Command(t, time.Minute, "", nil,
		harness.Tool(t, "etcdutl"), args...)
}

// stoppedMember is a member with data that was killed, and what it held at the
// revisions.
func stoppedMember(t *testing.T) (s *harness.Server, before []string,
	revs []int64) {
	t.Helper()
	s = harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	fillStore(t, client, rand.New(rand.NewPCG(seed(), 0)))
	rev := headRevision(t, client)
	revs = []int64{rev - 900, rev - 77, rev}
	before = content(t, client, revs)
	s.Kill()
	return s, before, revs
}

func testToolUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		out  string // in either output
	}{
		{"snapshot", 128, "chorad snapshot restore"},
		{"snapshot --help", 0, "chorad snapshot status"},
		{"snapshot nonsense", 128, "unknown command"},
		{"snapshot status", 128, "exactly one argument"},
		{"snapshot status a b", 128, "exactly one argument"},
		{"snapshot status /no/such/file", 1, "No such file"},
		{"snapshot status --help", 0, "--write-out"},
		{"snapshot status x -w yaml", 128, "yaml"},
		{"snapshot restore x --bump-revision 5", 128, "--mark-compacted"},
		{"snapshot restore x --bump-revision five", 128, "five"},
		{"snapshot restore --nonsense", 128, "--nonsense"},
		{"snapshot restore --help", 0, "--initial-advertise-peer-urls"},
		{"check", 1, "--data-dir is required"},
		{"check --data-dir /no/such/dir", 1, "no member's data"},
		{"check x", 128, "no arguments"},
		{"export --data-dir /no/such/dir --to x", 1, "no member's data"},
		{"--write-out=table snapshot status /no/file", 1, "No such file"},
		{"-w json snapshot status --help", 0, "--write-out"},
		{"hashkv -h", 0, "--rev"},
		{"completion bash", 0, "complete -o filenames"},
		{"completion tcsh", 128, "tcsh"},
		{"--help", 0, "chorad export"},
	} {
		got := tool(t, strings.Fields(c.args)...)
		if got.Code != c.code ||
			!strings.Contains(got.Stdout+got.Stderr, c.out) {
			t.Errorf("chorad %s: exit code %d, not %d, or no %q:\n%s%s", c.args,
				got.Code, c.code, c.out, got.Stdout, got.Stderr)
		}
	}
}

// testToolPrints compares byte by byte with etcdutl.
func testToolPrints(t *testing.T) {
	etcd := harness.Start(t, harness.Options{
		Binary: harness.Tool(t, "etcd")})
	chorad := harness.Start(t, harness.Options{})
	var files []string
	for _, s := range []*harness.Server{etcd, chorad} {
		client := httpClient(t, s)
		fillStore(t, client, rand.New(rand.NewPCG(seed(), 1)))
		files = append(files, save(t, s))
	}
	etcd.Kill()
	for _, file := range append(files, filepath.Join(etcd.DataDir,
		"member/snap/db")) {
		compareWithEtcdutl(t, []string{"snapshot", "status", file})
	}
	// etcdutl's own changes the file.
	for _, file := range files {
		compareWithEtcdutl(t, []string{"hashkv", file})
		compareWithEtcdutl(t, []string{"hashkv", file, "--rev", "1500"})
	}
	got := tool(t, "hashkv", files[0], "--rev", "999999")
	if got.Code != 1 || !strings.Contains(got.Stderr, "future revision") {
		t.Errorf("%d: %s", got.Code, got.Stderr)
	}
	// That of a member's directory is the server's.
	client := httpClient(t, chorad)
	hash, err := client.HashKV(timeout(t), chorad.Endpoint, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = chorad.Stop(os.Interrupt, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d, %d, %d\n", hash.Hash, hash.HashRevision,
		hash.CompactRevision)
	if got := mustTool(t, "hashkv", chorad.DataDir); got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

func compareWithEtcdutl(t *testing.T, args []string) {
	t.Helper()
	for _, format := range []string{"simple", "fields", "json", "table"} {
		with := append(args, "-w", format)
		ours, theirs := tool(t, with...), etcdutl(t, with...)
		if ours.Code != 0 || ours.Stdout != theirs.Stdout {
			t.Errorf("%v: %d\n%s%s\nand not\n%s", with, ours.Code, ours.Stdout,
				ours.Stderr, theirs.Stdout)
		}
	}
}

func testToolRestore(t *testing.T) {
	from := harness.Start(t, harness.Options{})
	client := httpClient(t, from)
	fillStore(t, client, rand.New(rand.NewPCG(seed(), 2)))
	rev := headRevision(t, client)
	revs := []int64{rev - 900, rev - 77, rev}
	before := content(t, client, revs)
	file := save(t, from)
	from.Kill()
	s := harness.New(t, harness.Options{})
	flags := []string{"--name", "default",
		"--initial-cluster", "default=" + s.PeerURL,
		"--initial-advertise-peer-urls", s.PeerURL,
		"--initial-cluster-token", "another"}
	restored := func(run func(*testing.T, ...string) harness.Result,
		extra ...string) *clientv3.Client {
		t.Helper()
		s.Kill()
		err := os.RemoveAll(s.DataDir)
		if err == nil { // There it is, and empty, as a mounted volume is.
			err = os.MkdirAll(s.DataDir, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, append(append([]string{"snapshot", "restore", file,
			"--data-dir", s.DataDir}, flags...), extra...)...)
		if got.Code != 0 {
			t.Fatalf("restore: %s%s", got.Stdout, got.Stderr)
		}
		s.Restart(t)
		return httpClient(t, s)
	}

	client = restored(etcdutl)
	member, cluster := ids(t, s)
	client = restored(tool)
	sameContent(t, before, content(t, client, revs))
	if a, b := ids(t, s); a != member || b != cluster {
		t.Errorf("member %x of cluster %x, with etcdutl %x of %x", a, b,
			member, cluster)
	}
	members, err := client.MemberList(timeout(t))
	if err != nil || len(members.Members) != 1 ||
		members.Members[0].PeerURLs[0] != s.PeerURL {
		t.Errorf("members %v, %v", members, err)
	}
	put, err := client.Put(timeout(t), "next", "x")
	if err != nil || put.Header.Revision != rev+1 {
		t.Errorf("%v, %v", put, err)
	}

	// With etcdutl's way to bump the revision and with ours: keys stay,
	// revisions before are compacted.
	bump := []string{"--bump-revision", "100000", "--mark-compacted"}
	client = restored(etcdutl, bump...)
	hash := bumped(t, s, client, rev, before)
	if other := bumped(t, s, restored(tool, bump...), rev,
		before); hash != other {
		t.Errorf("hash %d, with etcdutl %d", other, hash)
	}

	// The log elsewhere, in an empty directory that is there already.
	wal := harness.TempDir(t)
	s.SetArgs("--wal-dir", wal)
	client = restored(tool, "--wal-dir", wal)
	sameContent(t, before, content(t, client, revs))
	if _, err := os.Stat(filepath.Join(s.DataDir, "member/wal")); err == nil {
		t.Error("the log lies in two places")
	}
}

// bumped looks at a server restored with 100,000 revisions more; its hash.
func bumped(t *testing.T, s *harness.Server, client *clientv3.Client,
	rev int64, before []string) uint32 {
	t.Helper()
	all, err := client.Get(timeout(t), "", clientv3.WithPrefix())
	if err != nil || all.Header.Revision != rev+100000 {
		t.Fatalf("revision %v, %v; %d before", all.Header, err, rev)
	}
	text, _ := json.Marshal(all.Kvs)
	found := false
	for _, line := range before {
		found = found || line == fmt.Sprintf("keys at %d: %s", rev, text)
	}
	if !found {
		t.Errorf("the keys are others than before")
	}
	_, err = client.Get(timeout(t), "x", clientv3.WithRev(rev))
	if err == nil || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("a revision before: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	told := <-client.Watch(ctx, "x", clientv3.WithRev(rev))
	if told.CompactRevision != rev+100000 {
		t.Errorf("a watcher from before is told %+v", told)
	}
	hash, err := client.HashKV(timeout(t), s.Endpoint, 0)
	if err != nil {
		t.Fatal(err)
	}
	return hash.Hash
}

func ids(t *testing.T, s *harness.Server) (member, cluster uint64) {
	t.Helper()
	status, err := httpClient(t, s).Status(timeout(t), s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return status.Header.MemberId, status.Header.ClusterId
}

func testToolRestoreRefuses(t *testing.T) {
	from := harness.Start(t, harness.Options{})
	if _, err := httpClient(t, from).Put(timeout(t), "a", "b"); err != nil {
		t.Fatal(err)
	}
	file := save(t, from)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := harness.TempDir(t)
	written := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)/2] ^= 1
	full := harness.TempDir(t)
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, dir string
		args      []string
		want      string
	}{
		{file, full, nil, "not empty"},
		{written("bare", whole[:len(whole)-32]), "", nil,
			"snapshot missing hash but --skip-hash-check=false"},
		{written("flipped", flipped), "", nil, "SHA-256"},
		{written("text", []byte("text")), "", []string{"--skip-hash-check"},
			"neither page 0 nor page 1"},
		{filepath.Join(dir, "no"), "", nil, "No such file"},
		{file, "", []string{"--name", "other", "--initial-cluster",
			"default=http://localhost:9"},
			"couldn't find local name \"other\""},
		{file, "", []string{"--initial-advertise-peer-urls",
			"http://127.0.0.1:9"}, "--initial-cluster"},
		{file, "", []string{"--initial-cluster", "nonsense"},
			"setting up initial cluster"},
	} {
		to := c.dir
		if to == "" {
			to = filepath.Join(harness.TempDir(t), "data")
		}
		got := tool(t, append([]string{"snapshot", "restore", c.file,
			"--data-dir", to}, c.args...)...)
		if got.Code != 1 || !strings.Contains(got.Stderr, c.want) {
			t.Errorf("%s %v: %d, %s%s, not %q", c.file, c.args, got.Code,
				got.Stdout, got.Stderr, c.want)
		}
		if _, err := os.Stat(filepath.Join(to, "member")); err == nil {
			t.Errorf("%s %v: there is a member in %s", c.file, c.args, to)
		}
	}
}

// testToolExport goes back to etcd: from a member that was killed, so that its
// log holds what its store doesn't.
func testToolExport(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{
		"--snapshot-count", "300"}})
	client := httpClient(t, s)
	fillStore(t, client, rand.New(rand.NewPCG(seed(), 3)))
	for i := range 20 {
		_, err := client.Put(timeout(t), fmt.Sprint("last", i), "x")
		if err != nil {
			t.Fatal(err)
		}
	}
	rev := headRevision(t, client)
	revs := []int64{rev - 900, rev - 77, rev}
	before := content(t, client, revs)
	member, cluster := ids(t, s)
	s.Kill()
	to := filepath.Join(harness.TempDir(t), "etcd")
	out := mustTool(t, "export", "--data-dir", s.DataDir, "--to", to)
	if want := fmt.Sprintf("member %x of cluster %x", member,
		cluster); !strings.Contains(out, want) {
		t.Errorf("%s, not %s", out, want)
	}
	again := tool(t, "export", "--data-dir", s.DataDir, "--to", to)
	if again.Code != 1 || !strings.Contains(again.Stderr, "not empty") {
		t.Errorf("over what is there: %d, %s", again.Code, again.Stderr)
	}
	for i, binary := range []string{harness.Tool(t, "etcd"),
		harness.Chorad(t)} {
		s.SetBinary(binary)
		if i == 0 {
			own := s.DataDir
			s.DataDir = to
			defer func() { s.DataDir = own }()
		}
		s.SetArgs()
		s.Restart(t)
		sameContent(t, before, content(t, client, revs))
		if a, b := ids(t, s); a != member || b != cluster {
			t.Errorf("member %x of cluster %x", a, b)
		}
		s.Kill()
	}
}

func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err = file.ReadAt(b[:], offset); err == nil {
		b[0] ^= 4
		_, err = file.WriteAt(b[:], offset)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func testToolCheck(t *testing.T) {
	s, _, _ := stoppedMember(t)
	out := mustTool(t, "check", "--data-dir", s.DataDir)
	if !strings.Contains(out, "nothing is damaged") {
		t.Error(out)
	}
	store := filepath.Join(s.DataDir, "member/kv/data.mdb")
	segment := filepath.Join(s.DataDir,
		"member/wal/0000000000000000-0000000000000000.wal")
	offset := func(path, text string) int64 {
		t.Helper()
		data, err := os.ReadFile(path)
		at := strings.Index(string(data), text)
		if err != nil || at < 0 {
			t.Fatalf("no %q in %s: %v", text, path, err)
		}
		return int64(at)
	}
	for _, c := range []struct {
		what, path string
		offset     int64
		want       []string
	}{
		{"a record", store, offset(store, "large") + 1,
			[]string{"bucket key, revision {", "checksum", "page "}},
		// The head of one that is in use: its number.
		{"a page", store, offset(store, "large") / 4096 * 4096,
			[]string{"page ", "data.mdb"}},
		{"the log", segment, offset(segment, "large") + 1,
			[]string{segment, "byte "}},
		{"the first record", segment, 9, []string{segment}},
	} {
		flip(t, c.path, c.offset)
		got := tool(t, "check", "--data-dir", s.DataDir)
		var result struct {
			Sound    bool
			Damages  int
			Problems []string
		}
		err := json.Unmarshal([]byte(tool(t, "check", "--data-dir", s.DataDir,
			"-w", "json").Stdout), &result)
		if err != nil || result.Sound || result.Damages == 0 ||
			len(result.Problems) != result.Damages {
			t.Errorf("%s: %+v, %v", c.what, result, err)
		}
		for _, want := range c.want {
			if got.Code != 3 || !strings.Contains(got.Stdout, want) {
				t.Errorf("%s: %d, %s%s doesn't say %q", c.what, got.Code,
					got.Stdout, got.Stderr, want)
			}
		}
		flip(t, c.path, c.offset)
	}
	mustTool(t, "check", "--data-dir", s.DataDir)
	// Log and store of different members.
	other, _, _ := stoppedMember(t)
	wal := filepath.Join(other.DataDir, "member/wal")
	if err := os.RemoveAll(filepath.Join(s.DataDir, "member/wal")); err != nil {
		t.Fatal(err)
	}
	copyDir(t, wal, filepath.Join(s.DataDir, "member/wal"))
	extra := httpClient(t, other)
	other.Restart(t)
	for i := range 50 {
		if _, err := extra.Put(timeout(t), fmt.Sprint(i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Stop(os.Interrupt, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	got := tool(t, "check", "--data-dir", other.DataDir, "--wal-dir",
		filepath.Join(s.DataDir, "member/wal"))
	if got.Code != 3 || !strings.Contains(got.Stdout, "the store ends at") {
		t.Errorf("a store that is ahead of its log: %d, %s", got.Code,
			got.Stdout)
	}
}

func testToolDefrag(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	for range 20 {
		_, err := client.Put(timeout(t), "a", strings.Repeat("x", 200000))
		if err != nil {
			t.Fatal(err)
		}
	}
	rev := headRevision(t, client)
	_, err := client.Compact(timeout(t), rev, clientv3.WithCompactPhysical())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Stop(os.Interrupt, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(filepath.Join(s.DataDir, "member/kv/data.mdb"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	asItWas := filepath.Join(harness.TempDir(t), "data")
	copyDir(t, s.DataDir, asItWas)
	mustTool(t, "defrag", "--data-dir", s.DataDir)
	after := size()
	if after > before/4 {
		t.Errorf("%d bytes, %d before", after, before)
	}
	mustTool(t, "check", "--data-dir", s.DataDir)

	// A start does the same, where that is worth it.
	if err := os.RemoveAll(s.DataDir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, asItWas, s.DataDir)
	const threshold = "--bootstrap-defrag-threshold-megabytes"
	s.SetArgs(threshold, "1000")
	s.Restart(t)
	if !s.WaitLog("Skipping defragmentation", 0) || size() < before {
		t.Errorf("%d bytes, %d before: %s", size(), before, s.LogTail(9))
	}
	if _, err := s.Stop(os.Interrupt, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	s.SetArgs(threshold, "1")
	s.Restart(t)
	if size() > after*2 {
		t.Errorf("%d bytes, and %d as the tool has it", size(), after)
	}
	if got := headRevision(t, client); got != rev {
		t.Errorf("revision %d, not %d", got, rev)
	}
}

func testToolBusy(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	to := filepath.Join(harness.TempDir(t), "to")
	for _, args := range [][]string{
		{"check", "--data-dir", s.DataDir},
		{"defrag", "--data-dir", s.DataDir},
		{"export", "--data-dir", s.DataDir, "--to", to},
		{"hashkv", s.DataDir},
	} {
		got := tool(t, args...)
		if got.Code != 1 || !strings.Contains(got.Stderr, "a member runs on") {
			t.Errorf("%v: %d, %s%s", args, got.Code, got.Stdout, got.Stderr)
		}
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was exported")
	}
	if _, err := httpClient(t, s).Put(timeout(t), "a", "b"); err != nil {
		t.Error(err)
	}
}
