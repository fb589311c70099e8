package api

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"chorad.tests/api/harness"
)

// TestBitFlips flips single bits in real files, of etcd's and of chorad's
// making: each is found, or what is read is the same as before, and no program
// crashes. CHORAD_SLOW=1 takes 10,000 of them instead of a sample.
func TestBitFlips(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("looks with chorad's tools")
	}
	f := &flipper{rng: rand.New(rand.NewPCG(seed(), 5)), n: 25}
	if harness.Slow() {
		f.n = 1700
	}
	f.prepare(t)
	t.Run("snapshot of etcd", func(t *testing.T) { f.snapshots(t, f.files[0]) })
	t.Run("snapshot of chorad", func(t *testing.T) {
		f.snapshots(t, f.files[1])
	})
	t.Run("database of etcd", f.databases)
	for _, dir := range f.dirs {
		t.Run("log of "+dir.who, func(t *testing.T) { f.logs(t, dir) })
	}
	t.Run("store of chorad", func(t *testing.T) { f.stores(t, f.dirs[1]) })
	t.Run("store while it runs", testFlipRunning)
}

// testFlipRunning flips a bit of a value below a running member: nobody is
// served it, and the alarm is raised.
func testFlipRunning(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	put, err := client.Put(timeout(t), "damaged", "this is going to be damaged")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = client.Put(timeout(t), "sound", "sound"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.DataDir, "member/kv/data.mdb")
	at := -1
	if !harness.Eventually(5*time.Second, func() bool {
		data, _ := os.ReadFile(path)
		at = strings.Index(string(data), "going to be damaged")
		return at >= 0
	}) {
		t.Fatal("it doesn't get to the store")
	}
	// Until readers don't look into memory for it any more.
	time.Sleep(300 * time.Millisecond)
	flip(t, path, int64(at))
	got, err := client.Get(timeout(t), "damaged", clientv3.WithSerializable())
	if status.Code(err) != codes.DataLoss {
		t.Errorf("%v, %v", got, err)
	}
	if !harness.Eventually(5*time.Second, func() bool {
		alarms, err := client.AlarmList(timeout(t))
		return err == nil && len(alarms.Alarms) == 1 &&
			alarms.Alarms[0].Alarm == pb.AlarmType_CORRUPT
	}) {
		t.Error("no alarm")
	}
	if !strings.Contains(s.Log(), "a damaged record was found") ||
		!strings.Contains(s.Log(), fmt.Sprintf(`"revision":%d`,
			put.Header.Revision)) {
		t.Errorf("it isn't named:\n%s", s.LogTail(5))
	}
	if got, err = client.Get(timeout(t), "sound"); err != nil ||
		len(got.Kvs) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	// Nor does a snapshot take it along.
	saved := harness.Command(t, time.Minute, "", nil, harness.Tool(t, "etcdctl"),
		"--endpoints", s.Endpoint, "snapshot", "save",
		filepath.Join(harness.TempDir(t), "snapshot.db"))
	if saved.Code == 0 {
		t.Error("it is in a snapshot")
	}
}

type flipper struct {
	rng   *rand.Rand
	n     int
	files []string // snapshots
	db    string   // etcd's own database
	dirs  []flippedDir
}

// flippedDir is a member's directory, whose log was written by `who`.
type flippedDir struct {
	who, path, check, hash string
}

func (f *flipper) prepare(t *testing.T) {
	t.Helper()
	for _, who := range []string{"etcd", "chorad"} {
		options := harness.Options{}
		if who == "etcd" {
			options.Binary = harness.Tool(t, "etcd")
		}
		s := harness.Start(t, options)
		client := httpClient(t, s)
		fillStore(t, client, f.rng)
		f.files = append(f.files, save(t, s))
		s.Kill()
		if who == "etcd" {
			f.db = filepath.Join(harness.TempDir(t), "db")
			data, err := os.ReadFile(filepath.Join(s.DataDir,
				"member/snap/db"))
			if err == nil {
				err = os.WriteFile(f.db, data[:min(len(data), 2<<20)], 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.SetBinary(harness.Chorad(t))
			s.Restart(t)
			s.Kill()
		}
		f.dirs = append(f.dirs, flippedDir{who, s.DataDir,
			mustTool(t, "check", "--data-dir", s.DataDir, "-w", "json"),
			mustTool(t, "hashkv", s.DataDir)})
	}
}

// each flips a bit within the first `size` bytes of the file, looks, and flips
// it back; how many have been found.
func (f *flipper) each(t *testing.T, path string, size int64,
	look func(where string) bool) {
	t.Helper()
	found := 0
	for range f.n {
		at, bit := f.rng.Int64N(size), f.rng.IntN(8)
		flipBit := func() {
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			var b [1]byte
			if _, err = file.ReadAt(b[:], at); err == nil {
				b[0] ^= 1 << bit
				_, err = file.WriteAt(b[:], at)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		flipBit()
		if look(fmt.Sprintf("%s, byte %d, bit %d", filepath.Base(path), at,
			bit)) {
			found++
		}
		flipBit()
	}
	t.Logf("%d of %d found", found, f.n)
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// crashed says so of a tool that ended by a signal or in another odd way.
func crashed(t *testing.T, where string, got harness.Result,
	codes ...int) bool {
	t.Helper()
	for _, code := range codes {
		if got.Code == code {
			return false
		}
	}
	t.Errorf("%s: exit code %d: %s%s", where, got.Code, got.Stdout, got.Stderr)
	return true
}

// snapshots have a checksum over all of them.
func (f *flipper) snapshots(t *testing.T, file string) {
	dir := filepath.Join(harness.TempDir(t), "data")
	f.each(t, file, sizeOf(t, file), func(where string) bool {
		got := tool(t, "snapshot", "status", file)
		if got.Code != 1 || !strings.Contains(got.Stderr, file) {
			t.Errorf("%s: status says %d, %s%s", where, got.Code, got.Stdout,
				got.Stderr)
		}
		got = tool(t, "snapshot", "restore", file, "--data-dir", dir)
		if got.Code != 1 {
			t.Errorf("%s: it is restored", where)
		}
		return true
	})
}

// databases have none: what lies in a value can't be told, but nothing of it
// may lead astray.
func (f *flipper) databases(t *testing.T) {
	root := harness.TempDir(t)
	f.each(t, f.db, sizeOf(t, f.db), func(where string) bool {
		dir := filepath.Join(root, "data")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		got := tool(t, "snapshot", "restore", f.db, "--data-dir", dir,
			"--skip-hash-check")
		if crashed(t, where, got, 0, 1) || got.Code == 1 {
			return true
		}
		got = tool(t, "check", "--data-dir", dir)
		crashed(t, where, got, 0, 3)
		crashed(t, where, tool(t, "hashkv", dir), 0, 1)
		return got.Code == 3
	})
}

func (f *flipper) logs(t *testing.T, dir flippedDir) {
	segments, err := filepath.Glob(filepath.Join(dir.path,
		"member/wal/*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("%v, %v", segments, err)
	}
	// Where records are; what is behind them is zeros to a segment's end.
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	used := int64(len(strings.TrimRight(string(data), "\x00")))
	f.each(t, segments[0], used, func(where string) bool {
		got := tool(t, "check", "--data-dir", dir.path, "-w", "json")
		crashed(t, where, got, 0, 3)
		if got.Code == 0 && got.Stdout != dir.check {
			t.Errorf("%s: not found, and there is\n%snot\n%s", where,
				got.Stdout, dir.check)
		}
		return got.Code == 3
	})
}

func (f *flipper) stores(t *testing.T, dir flippedDir) {
	store := filepath.Join(dir.path, "member/kv/data.mdb")
	f.each(t, store, sizeOf(t, store), func(where string) bool {
		check := tool(t, "check", "--data-dir", dir.path, "-w", "json")
		crashed(t, where, check, 0, 3)
		hash := tool(t, "hashkv", dir.path)
		crashed(t, where, hash, 0, 1)
		if hash.Code == 0 && hash.Stdout != dir.hash {
			t.Errorf("%s: hash %s, not %s", where, hash.Stdout, dir.hash)
		}
		if check.Code == 0 && check.Stdout != dir.check {
			t.Errorf("%s: not found, and there is\n%snot\n%s", where,
				check.Stdout, dir.check)
		}
		return check.Code == 3
	})
}
