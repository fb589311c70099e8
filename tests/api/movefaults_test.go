package api

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// TestMoveFaults makes calls to the disk fail while data moves: taking over
// etcd's directory, restoring a snapshot, exporting, defragmenting offline.
// Each says what is wrong or dies, and the next try does all of it.
// CHORAD_SLOW=1 takes every call instead of a sample.
func TestMoveFaults(t *testing.T) {
	m := &mover{library: faultLibrary(t), seed: seed()}
	m.rng = rand.New(rand.NewPCG(m.seed, 7))
	t.Logf("seed %d", m.seed)
	m.prepare(t)
	for _, move := range m.moves() {
		t.Run(move.name, func(t *testing.T) { m.fail(t, move) })
	}
	for _, move := range m.moves() {
		t.Run(move.name+" without room", func(t *testing.T) {
			m.fill(t, move)
		})
	}
}

type mover struct {
	library string
	seed    uint64
	rng     *rand.Rand
	etcd    string // a directory that etcd has left
	chorad  string // one of chorad's
	file    string // a snapshot
	server  *harness.Server
	hash    string // what hashkv says of all of them
}

// move is one way: `begin` lays out what it starts from in the directory that
// faults are confined to, `args` is the command, `hash` looks at the result.
type move struct {
	name  string
	begin func(t *testing.T, dir string)
	args  func(dir string) []string
	// A server: success is that it gets ready.
	serves bool
	hash   func(t *testing.T, dir string) string
}

func (m *mover) prepare(t *testing.T) {
	t.Helper()
	s := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd")})
	client := httpClient(t, s)
	fillStore(t, client, rand.New(rand.NewPCG(m.seed, 8)))
	m.file = save(t, s)
	s.Kill()
	m.etcd = s.DataDir
	m.hash = mustTool(t, "hashkv", m.file)
	m.chorad = filepath.Join(harness.TempDir(t), "chorad")
	mustTool(t, "snapshot", "restore", m.file, "--data-dir", m.chorad)
	m.server = harness.New(t, harness.Options{})
}

func (m *mover) moves() []move {
	hashOfMember := func(t *testing.T, dir string) string {
		t.Helper()
		mustTool(t, "check", "--data-dir", filepath.Join(dir, "data"))
		return mustTool(t, "hashkv", filepath.Join(dir, "data"))
	}
	return []move{{
		name: "takeover",
		begin: func(t *testing.T, dir string) {
			copyDir(t, m.etcd, filepath.Join(dir, "data"))
		},
		args: func(dir string) []string {
			m.server.DataDir = filepath.Join(dir, "data")
			return m.server.Flags()
		},
		serves: true,
		hash:   hashOfMember,
	}, {
		name:  "restore",
		begin: func(*testing.T, string) {},
		args: func(dir string) []string {
			return []string{"snapshot", "restore", m.file, "--data-dir",
				filepath.Join(dir, "data")}
		},
		hash: hashOfMember,
	}, {
		name:  "restore with the log elsewhere",
		begin: func(*testing.T, string) {},
		args: func(dir string) []string {
			return []string{"snapshot", "restore", m.file, "--data-dir",
				filepath.Join(dir, "data"), "--wal-dir",
				filepath.Join(dir, "wal")}
		},
		hash: func(t *testing.T, dir string) string {
			mustTool(t, "check", "--data-dir", filepath.Join(dir, "data"),
				"--wal-dir", filepath.Join(dir, "wal"))
			return mustTool(t, "hashkv", filepath.Join(dir, "data"))
		},
	}, {
		name: "export",
		begin: func(t *testing.T, dir string) {
			copyDir(t, m.chorad, filepath.Join(dir, "data"))
		},
		args: func(dir string) []string {
			return []string{"export", "--data-dir", filepath.Join(dir, "data"),
				"--to", filepath.Join(dir, "to")}
		},
		hash: func(t *testing.T, dir string) string {
			t.Helper()
			got := etcdutl(t, "hashkv", filepath.Join(dir,
				"to/member/snap/db"))
			if got.Code != 0 {
				t.Fatal(got.Stderr)
			}
			return got.Stdout
		},
	}, {
		name: "defrag",
		begin: func(t *testing.T, dir string) {
			copyDir(t, m.chorad, filepath.Join(dir, "data"))
		},
		args: func(dir string) []string {
			return []string{"defrag", "--data-dir", filepath.Join(dir, "data")}
		},
		hash: hashOfMember,
	}}
}

// run gives the exit code, -1 for a signal, and what was printed.
func (m *mover) run(t *testing.T, move move, dir string, env []string) (int,
	string) {
	t.Helper()
	args := move.args(dir)
	if !move.serves {
		got := harness.Command(t, time.Minute, "", env, harness.Chorad(t),
			args...)
		return got.Code, got.Stdout + got.Stderr
	}
	logged := len(m.server.Log())
	m.server.SetEnv(env...)
	err := m.server.Run()
	if err == nil {
		m.server.Kill()
		return 0, ""
	}
	m.server.Kill()
	code := -1
	var exit *exec.ExitError
	if errors.As(m.server.ExitError(), &exit) {
		code = exit.ExitCode()
	}
	return code, m.server.Log()[logged:]
}

// fail counts the calls, then lets them fail in turn, each in its own way.
func (m *mover) fail(t *testing.T, move move) {
	root := harness.TempDir(t)
	calls := filepath.Join(root, "calls")
	fresh := func() string {
		t.Helper()
		dir := filepath.Join(root, "dir")
		for _, old := range []string{dir, dir + ".gone"} {
			if err := os.RemoveAll(old); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		move.begin(t, dir)
		return dir
	}
	dir := fresh()
	env := func(extra ...string) []string {
		return append([]string{"LD_PRELOAD=" + m.library,
			"FAULTIO_MATCH=" + dir, "FAULTIO_OP=any,open",
			"FAULTIO_LOG=" + calls}, extra...)
	}
	if code, out := m.run(t, move, dir, env()); code != 0 {
		t.Fatalf("without faults: %d, %s", code, out)
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	n := strings.Count(string(text), "\n")
	if n < 10 {
		t.Fatalf("%d calls", n)
	}
	step := max(1, n/14)
	if harness.Slow() {
		step = 1
	}
	tried := 0
	for nth := 1 + m.rng.IntN(step); nth <= n; nth += step {
		for i, kind := range kinds[:4] {
			if !harness.Slow() && i != tried%4 {
				continue
			}
			kind.nth = nth
			m.failAt(t, move, fresh(), kind, env, calls)
		}
		tried++
	}
	t.Logf("%d calls, %d of them failed", n, tried)
}

func (m *mover) failAt(t *testing.T, move move, dir string, kind fault,
	env func(...string) []string, calls string) {
	t.Helper()
	var how []string
	switch {
	case kind.power:
		kind.seed = m.rng.Uint32N(3) * m.rng.Uint32()
		how = []string{"FAULTIO_POWER=" + dir,
			fmt.Sprintf("FAULTIO_SEED=%d", kind.seed)}
	case kind.kill:
		how = []string{"FAULTIO_KILL=1"}
	default:
		how = []string{"FAULTIO_ERRNO=" + kind.errno}
	}
	_ = os.Remove(calls)
	code, out := m.run(t, move, dir, env(append(how,
		fmt.Sprintf("FAULTIO_NTH=%d", kind.nth))...))
	text, _ := os.ReadFile(calls)
	lines := strings.Split(string(text), "\n")
	hit := ""
	if kind.nth <= len(lines) {
		hit = lines[kind.nth-1]
	}
	describe := fmt.Sprintf("%v, %s", kind, hit)
	switch {
	case code == 0:
		// It doesn't need the call, or didn't come to it.
	case code == -1 && !kind.dies():
		t.Errorf("%s: it crashed: %s", describe, lastLines(out))
	case code == 1 && (!strings.Contains(out, errnoTexts[kind.errno]) &&
		!strings.Contains(strings.ToLower(out),
			strings.ToLower(errnoTexts[kind.errno]))):
		t.Errorf("%s: it doesn't say so: %s", describe, lastLines(out))
	}
	if code != 0 {
		code, out = m.run(t, move, dir, nil)
		if code != 0 && !isDone(out) {
			t.Fatalf("%s: the next try: %d, %s", describe, code,
				lastLines(out))
		}
	}
	if hash := move.hash(t, dir); hash != m.hash {
		t.Fatalf("%s: then %s, not %s", describe, hash, m.hash)
	}
}

// isDone says that the command refused because all of it is there: only word of
// that was lost.
func isDone(out string) bool {
	return strings.Contains(out, "not empty: there is member") ||
		strings.Contains(out, "wal-dir") && strings.Contains(out, "exists")
}

// fill lets the file system get full, then gives it room.
func (m *mover) fill(t *testing.T, move move) {
	dir := smallDisk(t, 200)
	move.begin(t, dir)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	used := (int64(fs.Blocks) - int64(fs.Bavail)) * fs.Bsize
	resize := func(bytes int64) {
		t.Helper()
		err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT,
			fmt.Sprintf("size=%d", bytes))
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for _, room := range []int64{64 << 10, 512 << 10, 2 << 20, 20 << 20} {
		resize(used + room)
		code, out := m.run(t, move, dir, nil)
		if code == 0 {
			break
		}
		refused++
		if code != 1 || !strings.Contains(strings.ToLower(out),
			"no space left on device") {
			t.Errorf("with %d bytes: %d, %s", room, code, lastLines(out))
		}
	}
	if refused == 0 {
		t.Error("there was room for it")
	}
	resize(400 << 20)
	if code, out := m.run(t, move, dir, nil); code != 0 && !isDone(out) {
		t.Fatalf("with room: %d, %s", code, lastLines(out))
	}
	if hash := move.hash(t, dir); hash != m.hash {
		t.Errorf("then %s, not %s", hash, m.hash)
	}
}
