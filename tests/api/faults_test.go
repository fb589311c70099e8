package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// faultLibrary compiles tests/faults/faultio.c, which makes calls of a process
// fail: see its head for the environment that it takes.
func faultLibrary(t *testing.T) string {
	t.Helper()
	if harness.Sanitized() {
		t.Skip("a sanitizer's runtime has to be loaded first")
	}
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("etcd makes its system calls without the C library")
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler for the library that makes calls fail")
	}
	library := filepath.Join(harness.TempDir(t), "libfaultio.so")
	source := func(name string) string {
		return filepath.Join(harness.Root(), "tests", "faults", name)
	}
	r := harness.Command(t, time.Minute, "", nil, cc, "-std=gnu11", "-O1",
		"-shared", "-fPIC", "-D_GNU_SOURCE", "-pthread", "-o", library,
		source("faultio.c"), source("power.c"), "-ldl")
	if r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	return library
}

// fault is what happens to the nth call that matches.
type fault struct {
	match  string // a part of the path, below the data directory
	op     string
	nth    int
	errno  string
	sticky bool
	kill   bool
	// The power fails: with the process goes what isn't synced, all of it or
	// what the seed says.
	power bool
	seed  uint32
}

func (f fault) String() string {
	what := f.errno
	switch {
	case f.power:
		what = fmt.Sprintf("power loss (%d)", f.seed)
	case f.kill:
		what = "SIGKILL"
	case f.sticky:
		what += " from then on"
	}
	return fmt.Sprintf("%s at call %d of %s on %q", what, f.nth, f.op, f.match)
}

func (f fault) dies() bool { return f.kill || f.power }

var errnoTexts = map[string]string{
	"EIO":    "Input/output error",
	"ENOSPC": "No space left on device",
}

// faulty is a server whose system calls fail, and the book of what it has
// acknowledged.
type faulty struct {
	library string
	server  *harness.Server
	book    *ledger.Book
	calls   string // the file with the matching calls
	seed    uint64
	stats   *faultStats
}

type faultStats struct {
	sync.Mutex
	cases, hit, stopped, died, wentOn int
}

func newFaulty(t *testing.T, library string, seed uint64,
	stats *faultStats) *faulty {
	t.Helper()
	server := harness.New(t, harness.Options{Args: []string{
		"--snapshot-count", "300"}, Ready: 15 * time.Second})
	return &faulty{library: library, server: server, seed: seed, stats: stats,
		book:  ledger.NewBook(seed, 8),
		calls: filepath.Join(harness.TempDir(t), "calls")}
}

func (f *faulty) environment(what fault) []string {
	env := []string{
		"LD_PRELOAD=" + f.library,
		"FAULTIO_MATCH=" + f.server.DataDir + what.match,
		"FAULTIO_OP=" + what.op,
		"FAULTIO_LOG=" + f.calls,
		fmt.Sprintf("FAULTIO_NTH=%d", what.nth),
	}
	switch {
	case what.power:
		env = append(env, "FAULTIO_POWER="+f.server.DataDir,
			fmt.Sprintf("FAULTIO_SEED=%d", what.seed))
	case what.kill:
		env = append(env, "FAULTIO_KILL=1")
	default:
		env = append(env, "FAULTIO_ERRNO="+what.errno)
	}
	if what.sticky {
		env = append(env, "FAULTIO_STICKY=1")
	}
	return env
}

// round lets the fault happen to the server, under load if it comes up, and
// audits what is there after a start without faults.
func (f *faulty) round(what fault, load time.Duration) error {
	_ = os.Remove(f.calls)
	before := len(f.server.Log())
	_ = os.RemoveAll(f.server.DataDir + ".gone")
	f.server.SetEnv(f.environment(what)...)
	if err := f.server.Launch(); err != nil {
		return err
	}
	if f.server.WaitReady() == nil {
		if err := f.load(load); err != nil {
			return err
		}
	}
	hit, err := f.ended(what, before)
	if err != nil {
		return fmt.Errorf("hit: %s: %w", hit, err)
	}
	f.server.Kill()
	f.server.SetEnv()
	if err := f.server.Run(); err != nil {
		return fmt.Errorf("hit: %s: the start after it: %w", hit, err)
	}
	if err := f.book.Verify(f.server.Endpoint); err != nil {
		return fmt.Errorf("hit: %s: %w", hit, err)
	}
	f.server.Kill()
	return nil
}

// load writes until the server dies or the time is up; a server that lives on
// has to be of use.
func (f *faulty) load(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { f.maintain(ctx) })
	err := f.book.Load(ctx, f.server.Endpoint)
	group.Wait()
	if err != nil || !f.server.Alive() {
		return err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{f.server.Endpoint}, DialTimeout: 3 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// It may just be about to stop.
	exited := f.server.Exited()
	go func() {
		select {
		case <-exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	if _, err = client.Put(ctx, "probe", "x"); err == nil {
		return nil
	}
	select {
	case <-f.server.Exited():
		return nil
	case <-time.After(5 * time.Second):
		return fmt.Errorf("it neither stops nor takes writes: %w", err)
	}
}

// maintain defragments, since that writes files as well.
func (f *faulty) maintain(ctx context.Context) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{f.server.Endpoint}})
	if err != nil {
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		if _, err := client.Defragment(ctx, f.server.Endpoint); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// call is the nth matching call as the library has logged it; "" when it
// didn't come to that.
func (f *faulty) call(nth int) string {
	text, _ := os.ReadFile(f.calls)
	prefix := fmt.Sprintf("%d ", nth)
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimPrefix(line, prefix)
		}
	}
	return ""
}

// mustStop says that after this call has failed nobody knows what the disk
// holds of what was, or is going to be, acknowledged.
func mustStop(call string) bool {
	name, path, _ := strings.Cut(call, " ")
	return (strings.Contains(name, "write") || strings.Contains(name, "sync")) &&
		(strings.HasSuffix(path, ".wal") ||
			strings.HasSuffix(path, "/kv/data.mdb"))
}

// ended looks at how the process has fared: dead by the signal, stopped with
// a message, or going on. It gives the call that was hit, if any.
func (f *faulty) ended(what fault, logged int) (string, error) {
	// The call may come at any time while the process lives.
	alive := f.server.Alive()
	hit := f.call(what.nth)
	if alive && hit != "" && (what.dies() || mustStop(hit)) {
		if !exitsSoon(f.server) {
			return hit, errors.New("it goes on")
		}
		alive = false
	}
	log := f.server.Log()[logged:]
	f.stats.Lock()
	defer f.stats.Unlock()
	f.stats.cases++
	if hit != "" {
		f.stats.hit++
	}
	switch {
	case alive:
		f.stats.wentOn++
		return hit, nil
	case hit == "":
		return hit, fmt.Errorf("it ended without a fault: %v\n%s",
			f.server.ExitError(), lastLines(log))
	case what.dies():
		f.stats.died++
		return hit, killed(f.server, log)
	}
	f.stats.stopped++
	return hit, stoppedWell(f.server, errnoTexts[what.errno], log)
}

func killed(s *harness.Server, log string) error {
	var exit *exec.ExitError
	if err := s.ExitError(); !errors.As(err, &exit) ||
		exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return fmt.Errorf("it ended by itself: %v\n%s", err, lastLines(log))
	}
	return nil
}

func exitsSoon(s *harness.Server) bool {
	select {
	case <-s.Exited():
		return true
	case <-time.After(3 * time.Second):
		return false
	}
}

// stoppedWell wants exit code 1 and, at the end, a line that names a file of
// the server and the reason.
func stoppedWell(s *harness.Server, reason, log string) error {
	var exit *exec.ExitError
	if err := s.ExitError(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return fmt.Errorf("not exit code 1: %v\n%s", err, lastLines(log))
	}
	for _, line := range strings.Split(log, "\n") {
		var fields struct{ Level, Error string }
		if json.Unmarshal([]byte(line), &fields) == nil &&
			fields.Level == "fatal" &&
			strings.Contains(fields.Error, s.DataDir) &&
			strings.Contains(fields.Error, reason) {
			return nil
		}
	}
	return fmt.Errorf("no fatal line with a file and %q:\n%s", reason,
		lastLines(log))
}

func lastLines(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], "\n")
}

// kinds are the ways in which a call fails.
var kinds = []fault{
	{errno: "EIO"}, {errno: "ENOSPC"}, {kill: true}, {power: true},
	{errno: "EIO", sticky: true}, {errno: "ENOSPC", sticky: true},
	{power: true},
}

// places are the calls that are counted.
var places = []fault{
	{op: "any"},
	{op: "write,fsync", match: "/member/wal"},
	{op: "fsync", match: "/member/wal"},
	{op: "any", match: "/member/kv"},
	{op: "fsync", match: "/member/kv"},
	{op: "truncate,fallocate,rename,open"},
}

// TestFaults makes calls to the disk fail, one after the other: the server
// stops with a message or goes on, and what it has acknowledged is there
// afterwards. CHORAD_SLOW=1 takes every call instead of a sample.
func TestFaults(t *testing.T) {
	library := faultLibrary(t)
	s := seed()
	t.Logf("seed %d", s)
	stats := &faultStats{}
	t.Run("start", func(t *testing.T) { faultsAtStart(t, library, s, stats) })
	t.Run("load", func(t *testing.T) {
		faultsUnderLoad(t, library, s, stats)
	})
	t.Logf("%d cases, %d hit: %d stopped with a message, %d died, %d went on",
		stats.cases, stats.hit, stats.stopped, stats.died, stats.wentOn)
	if stats.hit*2 < stats.cases || stats.stopped == 0 || stats.died == 0 {
		t.Error("too few of the faults happened")
	}
}

// faultsAtStart takes the calls of a first start, each on a new directory.
func faultsAtStart(t *testing.T, library string, seed uint64,
	stats *faultStats) {
	for nth := 1; nth <= 40; nth++ {
		for i, kind := range kinds {
			if !harness.Slow() && i != nth%len(kinds) {
				continue
			}
			kind.op, kind.nth = "any", nth
			f := newFaulty(t, library, seed, stats)
			if err := f.round(kind, 50*time.Millisecond); err != nil {
				t.Fatalf("%v: %v\n%s", kind, err, f.server.LogTail(6))
			}
			_ = os.RemoveAll(f.server.DataDir)
			_ = os.RemoveAll(f.server.DataDir + ".gone")
		}
	}
}

// faultsUnderLoad goes on with the same directory all the time.
func faultsUnderLoad(t *testing.T, library string, seed uint64,
	stats *faultStats) {
	f := newFaulty(t, library, seed, stats)
	rng := rand.New(rand.NewPCG(seed, 99))
	end := time.Now().Add(40 * time.Second)
	for i := 0; ; i++ {
		place := places[i%len(places)]
		kind := kinds[i/len(places)%len(kinds)]
		nth := 1 + i/len(places)/len(kinds)
		if !harness.Slow() {
			if time.Now().After(end) {
				break
			}
			// Small numbers more often: those are the calls of the start.
			nth = 1 + rng.IntN(1<<(1+rng.IntN(9)))
		} else if nth > 40 {
			break
		}
		kind.op, kind.match, kind.nth = place.op, place.match, nth
		kind.seed = rng.Uint32N(3) * rng.Uint32()
		err := f.round(kind, time.Duration(100+rng.IntN(300))*time.Millisecond)
		if err != nil {
			t.Fatalf("seed %d, round %d: %v: %v\n%s", seed, i, kind, err,
				f.server.LogTail(6))
		}
	}
	t.Logf("%d writes acknowledged", f.book.Acknowledged())
}

// TestSlowDisk delays the syncs of the log: that is logged, and slow is all
// that it is.
func TestSlowDisk(t *testing.T) {
	library := faultLibrary(t)
	s := harness.New(t, harness.Options{})
	s.SetEnv("LD_PRELOAD="+library, "FAULTIO_MATCH="+s.DataDir+"/member/wal",
		"FAULTIO_OP=fsync", "FAULTIO_NTH=8", "FAULTIO_STICKY=1",
		"FAULTIO_DELAY_MS=1200")
	if err := s.Run(); err != nil {
		t.Fatalf("%v\n%s", err, s.LogTail(6))
	}
	book := ledger.NewBook(seed(), 8)
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
	defer cancel()
	if err := book.Load(ctx, s.Endpoint); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.Log(), `"msg":"slow fdatasync"`) {
		t.Errorf("the log has no line about it:\n%s", s.LogTail(6))
	}
	if !s.Alive() || book.Acknowledged() < 8 {
		t.Errorf("%d writes were acknowledged", book.Acknowledged())
	}
	s.Kill()
	s.SetEnv()
	s.Restart(t)
	if err := book.Verify(s.Endpoint); err != nil {
		t.Error(err)
	}
}

// smallDisk mounts a file system of its own for the test.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	dir := harness.TempDir(t)
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0,
		fmt.Sprintf("size=%dm", megabytes))
	if err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestFullDisk fills a small file system: the member stops with a message,
// and goes on from where it was once there is room.
func TestFullDisk(t *testing.T) {
	t.Run("log", func(t *testing.T) {
		disk := smallDisk(t, 150)
		s := harness.New(t, harness.Options{})
		testFullDisk(t, s, disk, disk, "--wal-dir", filepath.Join(disk, "wal"))
	})
	t.Run("store", func(t *testing.T) {
		disk := smallDisk(t, 180)
		s := harness.New(t, harness.Options{
			DataDir: filepath.Join(disk, "data")})
		testFullDisk(t, s, disk, s.DataDir)
	})
}

func testFullDisk(t *testing.T, s *harness.Server, disk, path string,
	args ...string) {
	s.SetArgs(args...)
	// What an operator could delete.
	ballast := filepath.Join(disk, "ballast")
	if err := s.Run(); err != nil {
		t.Fatalf("%v\n%s", err, s.LogTail(6))
	}
	book := ledger.NewBook(seed(), 4)
	loadFor(t, book, s, 300*time.Millisecond)
	fill(t, ballast)
	acked := writeUntilDead(t, s)
	t.Logf("%d large writes were acknowledged before the disk was full", acked)
	if !exitsSoon(s) {
		t.Fatalf("it goes on without room\n%s", s.LogTail(6))
	}
	if err := stoppedAt(s, path); err != nil {
		t.Error(err)
	}
	// Without room it says so again, or serves what it has.
	if s.Run() != nil && s.Alive() {
		t.Error("it neither serves nor ends")
	}
	s.Kill()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	if err := book.Verify(s.Endpoint); err != nil {
		t.Error(err)
	}
	wantLarge(t, s, acked)
	loadFor(t, book, s, 300*time.Millisecond)
	s.Kill()
	s.Restart(t)
	if err := book.Verify(s.Endpoint); err != nil {
		t.Error(err)
	}
}

func stoppedAt(s *harness.Server, path string) error {
	var exit *exec.ExitError
	if err := s.ExitError(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return fmt.Errorf("not exit code 1: %v\n%s", err, s.LogTail(6))
	}
	for _, line := range strings.Split(s.Log(), "\n") {
		if strings.Contains(line, `"level":"fatal"`) &&
			strings.Contains(line, path) &&
			strings.Contains(line, errnoTexts["ENOSPC"]) {
			return nil
		}
	}
	return fmt.Errorf("no fatal line with the reason:\n%s", s.LogTail(6))
}

func loadFor(t *testing.T, book *ledger.Book, s *harness.Server,
	limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := book.Load(ctx, s.Endpoint); err != nil {
		t.Fatal(err)
	}
}

// fill takes all the room there is.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

const largeValue = 200_000

// writeUntilDead puts large values until the server takes no more and gives
// how many were acknowledged.
func writeUntilDead(t *testing.T, s *harness.Server) int {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n := 0; n < 2000; n++ {
		ctx, cancel := context.WithTimeout(context.Background(),
			5*time.Second)
		_, err := client.Put(ctx, fmt.Sprintf("large%d", n),
			strings.Repeat("x", largeValue))
		cancel()
		if err != nil {
			t.Logf("write %d: %v", n, err)
			return n
		}
	}
	t.Fatal("the disk doesn't get full")
	return 0
}

func wantLarge(t *testing.T, s *harness.Server, n int) {
	t.Helper()
	client := httpClient(t, s)
	for i := range n {
		got, err := client.Get(timeout(t), fmt.Sprintf("large%d", i))
		if err != nil || len(got.Kvs) != 1 ||
			len(got.Kvs[0].Value) != largeValue {
			t.Fatalf("large write %d of %d: %v", i, n, err)
		}
	}
}
