package harness

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Root is the top folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Chorad is the path of the server under test: $CHORAD or build/chorad.
func Chorad(t testing.TB) string {
	t.Helper()
	path := os.Getenv("CHORAD")
	if path == "" {
		path = filepath.Join(Root(), "build", "chorad")
	}
	return existing(t, path, "set CHORAD to the server under test")
}

// Tool is the path of a binary that tests/tools/build has made; the
// directory is $TOOLS or build/tools.
func Tool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TOOLS")
	if dir == "" {
		dir = filepath.Join(Root(), "build", "tools")
	}
	return existing(t, filepath.Join(dir, name), "run tests/tools/build")
}

// OldTool is the same for a program that can't be had everywhere: the test is
// skipped without it.
func OldTool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TOOLS")
	if dir == "" {
		dir = filepath.Join(Root(), "build", "tools")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no %s", name)
	}
	return path
}

func existing(t testing.TB, path, hint string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(abs)
	}
	if err != nil {
		t.Fatalf("%v (%s)", err, hint)
	}
	return abs
}

// Slow says whether the long variants of the tests are wanted.
func Slow() bool { return os.Getenv("CHORAD_SLOW") != "" }

// Sanitized says that the server is built with sanitizers.
func Sanitized() bool { return os.Getenv("CHORAD_SANITIZED") != "" }

// Slack is by how much a limit of time or memory is widened for a build with
// sanitizers.
func Slack() int {
	if Sanitized() {
		return 10
	}
	return 1
}

// TempDir is a directory that goes with the test. Unlike t.TempDir its
// removal never fails the test: a server may just be writing there.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chorad-api-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Memory is a directory of that kind in memory, if there is room for a few
// servers' logs, for tests that ask nothing of the disk.
func Memory(t testing.TB) string {
	t.Helper()
	const dir, room = "/dev/shm", 3 << 30
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil ||
		fs.Bavail*uint64(fs.Bsize) < room {
		return TempDir(t)
	}
	made, err := os.MkdirTemp(dir, "chorad-api-")
	if err != nil {
		return TempDir(t)
	}
	t.Cleanup(func() { _ = os.RemoveAll(made) })
	return made
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePorts chooses n ports on 127.0.0.1 that nobody listens on. They lie
// below the range from which the kernel takes outgoing ports, so that a
// restarted server finds its own free again.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	var found []int
	for tries := 0; len(found) < n; tries++ {
		if tries > 1000 {
			t.Fatal("no free port found")
		}
		port := 10000 + rand.IntN(22000)
		if ports.given[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		ports.given[port] = true
		found = append(found, port)
	}
	return found
}

// Eventually polls until the condition holds, or the time is up.
func Eventually(limit time.Duration, holds func() bool) bool {
	deadline := time.Now().Add(limit)
	for {
		if holds() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Result is what a command printed and how it ended.
type Result struct {
	Stdout string
	Stderr string
	Code   int // -1: killed by a signal or by the time limit
	Took   time.Duration
}

// Command runs a program to its end, with the given standard input.
func Command(t testing.TB, limit time.Duration, stdin string, env []string,
	name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin = bytes.NewBufferString(stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cleanEnv(), env...)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("run %s: %v", name, err)
	}
	return Result{stdout.String(), stderr.String(),
		cmd.ProcessState.ExitCode(), time.Since(begin)}
}
