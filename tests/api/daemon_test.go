package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
	"chorad.tests/api/ledger"
)

// TestDaemon looks at the process: flags, signals, logs, restarts.
func TestDaemon(t *testing.T) {
	t.Run("exit codes", testExitCodes)
	t.Run("config file", testConfigFile)
	t.Run("environment", testEnvironment)
	t.Run("limits", testLimits)
	t.Run("SIGTERM", func(t *testing.T) { testSignal(t, syscall.SIGTERM) })
	t.Run("SIGINT", func(t *testing.T) { testSignal(t, syscall.SIGINT) })
	t.Run("log lines", testLogLines)
	t.Run("log outputs", testLogOutputs)
	t.Run("log rotation", testLogRotation)
	t.Run("memory lock", testMemoryLock)
	t.Run("ports shared", testReusePort)
	t.Run("leases over a restart", testLeaseRestart)
	t.Run("periodic compaction", testPeriodicCompaction)
	t.Run("progress notification", testProgressInterval)
}

func runServer(t *testing.T, env []string, args ...string) harness.Result {
	t.Helper()
	return harness.Command(t, 10*time.Second, "", env, harness.Chorad(t),
		args...)
}

func testExitCodes(t *testing.T) {
	dir := filepath.Join(harness.TempDir(t), "data")
	bad := filepath.Join(harness.TempDir(t), "bad.yml")
	if err := os.WriteFile(bad, []byte("name: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		text string
		env  string
		args string
	}{
		{0, "etcd Version: 3.7.", "", "--version"},
		{0, "--listen-client-urls", "", "--help"},
		{0, "--listen-client-urls", "", "-h"},
		{2, "nonsense", "", "--nonsense"},
		{2, "experimental-corrupt-check-time", "",
			"--experimental-corrupt-check-time=1m"},
		{2, "heartbeat-interval", "", "--heartbeat-interval abc"},
		{2, "heartbeat-interval", "", "--heartbeat-interval"},
		{2, "quota-backend-bytes", "", "--quota-backend-bytes=abc"},
		{2, "max-txn-ops", "", "--max-txn-ops -1"},
		{2, "initial-cluster-state", "", "--initial-cluster-state funny"},
		{2, "feature-gates", "", "--feature-gates No=true"},
		{2, "strict-reconfig-check", "", "--strict-reconfig-check=maybe"},
		{1, "foo", "", "foo"},
		{1, "advertise-client-urls", "",
			"--listen-client-urls http://127.0.0.1:21379"},
		{1, "ETCD_NAME", "ETCD_NAME=x", "--name y"},
		{1, "election-timeout", "", "--election-timeout 100"},
		{1, "election-timeout", "", "--election-timeout 60000"},
		{1, "example.com", "", "--listen-client-urls http://example.com:1 " +
			"--advertise-client-urls http://example.com:1"},
		{1, "nobody", "",
			"--name nobody --initial-cluster other=http://localhost:2380"},
		{1, "never", "", "--auto-compaction-mode never"},
		{1, "nothere.yml", "", "--config-file nothere.yml"},
		{1, "", "", "--config-file " + bad},
		{1, "/proc/nothing", "", "--data-dir /proc/nothing"},
		{1, "", "", "--cert-file nothere.pem --key-file nothere.pem " +
			"--listen-client-urls https://127.0.0.1:21379 " +
			"--advertise-client-urls https://127.0.0.1:21379"},
	} {
		args := strings.Fields(c.args)
		if c.code == 1 && !strings.Contains(c.args, "--data-dir") &&
			!strings.Contains(c.args, "--config-file") {
			args = append([]string{"--data-dir", dir}, args...)
		}
		var env []string
		if c.env != "" {
			env = []string{c.env}
		}
		r := runServer(t, env, args...)
		out := r.Stdout + r.Stderr
		if r.Code != c.code || !strings.Contains(out, c.text) {
			t.Errorf("%s %s: exit code %d, wanted %d with %q:\n%.600s", c.env,
				c.args, r.Code, c.code, c.text, out)
		}
	}
	s := harness.Start(t, harness.Options{})
	r := harness.Command(t, 10*time.Second, "", nil, s.Binary, "--name",
		"default", "--data-dir", dir, "--listen-client-urls", s.ClientURL,
		"--advertise-client-urls", s.ClientURL, "--listen-peer-urls",
		s.PeerURL, "--initial-advertise-peer-urls", s.PeerURL,
		"--initial-cluster", "default="+s.PeerURL)
	if r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, "in use") {
		t.Errorf("a second one on the same ports: exit code %d\n%.600s%.600s",
			r.Code, r.Stdout, r.Stderr)
	}
}

// wantTxnLimit sees that at most three operations are allowed.
func wantTxnLimit(t *testing.T, s *harness.Server) {
	t.Helper()
	client := httpClient(t, s)
	ops := func(n int) (ops []clientv3.Op) {
		for i := range n {
			ops = append(ops, clientv3.OpPut(fmt.Sprint("k", i), "v"))
		}
		return ops
	}
	if _, err := client.Txn(timeout(t)).Then(ops(3)...).Commit(); err != nil {
		t.Error(err)
	}
	_, err := client.Txn(timeout(t)).Then(ops(4)...).Commit()
	if !errors.Is(err, rpctypes.ErrTooManyOps) {
		t.Errorf("four operations give %v", err)
	}
}

func testConfigFile(t *testing.T) {
	s := harness.New(t, harness.Options{Bare: true})
	config := filepath.Join(harness.TempDir(t), "config.yml")
	text := fmt.Sprintf(`# everything else in the environment is ignored
name: 'from-file'
data-dir: %s
listen-client-urls: %s
advertise-client-urls: %s
listen-peer-urls: %s
initial-advertise-peer-urls: %s
initial-cluster: from-file=%s
max-txn-ops: 3
quota-backend-bytes: 123456789
auto-compaction-mode: revision
auto-compaction-retention: "1000"
watch-progress-notify-interval: 600000000000
unknown-key: is ignored
log-outputs: [stderr]
`, s.DataDir, s.ClientURL, s.ClientURL, s.PeerURL, s.PeerURL, s.PeerURL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.SetArgs("--config-file", config)
	if err := s.Run(); err != nil {
		t.Fatalf("%v\n%s", err, s.LogTail(10))
	}
	wantTxnLimit(t, s)
	client := httpClient(t, s)
	members, err := client.MemberList(timeout(t))
	if err != nil || members.Members[0].Name != "from-file" {
		t.Errorf("members: %v, %v", members, err)
	}
	status, err := client.Status(timeout(t), s.Endpoint)
	if err != nil || status.DbSizeQuota != 123456789 {
		t.Errorf("status: %v, %v", status, err)
	}
}

func testEnvironment(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{"ETCD_MAX_TXN_OPS=3",
		"ETCD_NOBODY_KNOWS=1", "ETCD_LOG_LEVEL=debug"}})
	wantTxnLimit(t, s)
	if !strings.Contains(s.Log(), "ETCD_NOBODY_KNOWS") {
		t.Error("the log doesn't warn of an unknown ETCD_ variable")
	}
}

func testLimits(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{
		"--max-request-bytes=10000", "--max-txn-ops", "3",
		"-quota-backend-bytes", "0"}})
	wantTxnLimit(t, s)
	client := httpClient(t, s)
	_, err := client.Put(timeout(t), "a", strings.Repeat("x", 9900))
	if err != nil {
		t.Error(err)
	}
	_, err = client.Put(timeout(t), "a", strings.Repeat("x", 10000))
	if !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("a request of more than 10,000 bytes gives %v", err)
	}
}

// testSignal stops the server under load, with watchers and idle clients
// connected, and finds what it has acknowledged.
func testSignal(t *testing.T, signal syscall.Signal) {
	s := harness.Start(t, harness.Options{})
	book := ledger.NewBook(seed(), 8)
	idle := httpClient(t, s)
	_ = idle.Watch(context.Background(), "x")
	stopped := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() {
		defer close(stopped)
		took, err := s.Stop(signal, 30*time.Second)
		// etcd waits several seconds for the streams that are open.
		if s.IsChorad() && took > time.Duration(2*harness.Slack())*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		var exit *exec.ExitError
		switch {
		case err == nil:
		case errors.As(err, &exit) && !s.IsChorad() &&
			exit.Sys().(syscall.WaitStatus).Signal() == signal:
			// etcd ends itself by the signal that it has caught.
		default:
			t.Errorf("after the signal: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := book.Load(ctx, s.Endpoint); err != nil {
		t.Fatal(err)
	}
	<-stopped
	idle.Close()
	s.Restart(t)
	if err := book.Verify(s.Endpoint); err != nil {
		t.Error(err)
	}
	if book.Acknowledged() < 10 {
		t.Errorf("only %d writes were acknowledged", book.Acknowledged())
	}
}

func testLogLines(t *testing.T) {
	s := harness.Start(t, harness.Options{
		Args: []string{"--snapshot-catchup-entries", "1000",
			"--feature-gates", "PriorityRequest=true",
			"--watch-progress-notify-interval=5s", "--discovery-password=xyz"}})
	for _, setting := range []string{`"snapshot-catchup-entries":1000`,
		`"feature-gates":["PriorityRequest=true"]`,
		`"watch-progress-notify-interval":"5s"`,
		`"listen-client-urls":["` + s.ClientURL + `"]`} {
		if !strings.Contains(s.Log(), setting) {
			t.Errorf("no line says %s", setting)
		}
	}
	if strings.Contains(s.Log(), "xyz") {
		t.Error("the log has a password")
	}
	if !s.WaitLog("ready to serve client requests", 5*time.Second) {
		t.Error("no line says that it is ready")
	}
	_, _ = s.Stop(syscall.SIGTERM, 10*time.Second)
	for i, line := range strings.Split(strings.TrimSpace(s.Log()), "\n") {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("line %d isn't JSON: %v: %s", i+1, err, line)
		}
		for _, name := range []string{"level", "ts", "caller", "msg"} {
			if text, ok := fields[name].(string); !ok || text == "" {
				t.Errorf("line %d has no %s: %s", i+1, name, line)
			}
		}
		_, err := time.Parse("2006-01-02T15:04:05.999999Z0700",
			fmt.Sprint(fields["ts"]))
		if err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
	}
}

func testLogOutputs(t *testing.T) {
	file := filepath.Join(harness.TempDir(t), "own.log")
	s := harness.Start(t, harness.Options{Args: []string{"--log-outputs",
		file + ",stdout", "--log-format", "console"}})
	const ready = "ready to serve client requests"
	inFile := func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), ready)
	}
	if !harness.Eventually(5*time.Second, inFile) || !s.WaitLog(ready,
		time.Second) {
		t.Error("the log isn't in both outputs")
	}
	if strings.Contains(s.Log(), `{"level"`) {
		t.Error("the console format has JSON lines")
	}
	quiet := harness.Start(t, harness.Options{Args: []string{"--log-level",
		"error"}})
	if strings.Contains(quiet.Log(), ready) {
		t.Error("log level error prints what is info")
	}
}

// testLogRotation begins with a file that is full, and one backup too many, as
// etcd left them or anybody: the files that there are then are the same.
func testLogRotation(t *testing.T) {
	for _, binary := range []string{harness.Tool(t, "etcd"),
		harness.Chorad(t)} {
		dir := harness.TempDir(t)
		file := filepath.Join(dir, "own.log")
		old := filepath.Join(dir, "own-2001-02-03T04-05-06.007.log.gz")
		full := strings.Repeat("{\"level\":\"info\"}\n", 1<<20/17)
		for path, text := range map[string]string{old: "", file: full} {
			if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		s := harness.Start(t, harness.Options{Binary: binary, Args: []string{
			"--log-outputs", file, "--enable-log-rotation",
			"--log-rotation-config-json",
			`{"maxsize": 1, "maxbackups": 1, "compress": true}`}})
		stamp := regexp.MustCompile(
			`^own-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log\.gz$`)
		var names []string
		done := func() bool {
			entries, err := os.ReadDir(dir)
			names = nil
			for _, entry := range entries {
				names = append(names, entry.Name())
			}
			return err == nil && len(names) == 2 && names[1] == "own.log" &&
				stamp.MatchString(names[0]) && names[0] > filepath.Base(old)
		}
		if !harness.Eventually(10*time.Second, done) {
			t.Fatalf("%s: %v", binary, names)
		}
		s.Kill()
		if got := gunzip(t, filepath.Join(dir, names[0])); !strings.HasPrefix(
			got, full) {
			t.Errorf("%s: the full file has %d bytes of %d", binary,
				len(got), len(full))
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode() != 0o640 || info.Size() == 0 ||
			info.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", binary, info, err)
		}
	}
}

func gunzip(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testMemoryLock: what the process has is locked, or the start is refused.
func testMemoryLock(t *testing.T) {
	if harness.Sanitized() {
		t.Skip("sanitizers leave memory unlocked")
	}
	s := harness.New(t, harness.Options{Args: []string{"--memory-mlock"}})
	if err := s.Run(); err != nil {
		if os.Getuid() == 0 || !strings.Contains(s.Log(), "--memory-mlock") {
			t.Fatalf("%v: %s", err, s.LogTail(3))
		}
		return
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`VmLck:\s+[1-9]`).Match(status) {
		t.Errorf("nothing is locked: %s", status)
	}
}

// testReusePort listens where a server does, which takes both to agree.
func testReusePort(t *testing.T) {
	for _, args := range [][]string{nil, {"--socket-reuse-port"}} {
		s := harness.Start(t, harness.Options{Args: args})
		config := net.ListenConfig{Control: func(_, _ string,
			conn syscall.RawConn) error {
			return conn.Control(func(fd uintptr) {
				const reusePort = 15 // SO_REUSEPORT
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET,
					reusePort, 1)
			})
		}}
		second, err := config.Listen(timeout(t), "tcp", s.Endpoint)
		if err == nil {
			second.Close()
		}
		if (err == nil) != (args != nil) {
			t.Errorf("with %v: %v", args, err)
		}
		if strings.Contains(s.Log(), "no effect") {
			t.Error("the log says that it has no effect")
		}
	}
}

// testLeaseRestart keeps a long lease with its keys over kill and restart; a
// short one still runs out after it.
func testLeaseRestart(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	client := httpClient(t, s)
	long, err := client.Grant(timeout(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	short, err := client.Grant(timeout(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	for key, id := range map[string]clientv3.LeaseID{"long": long.ID,
		"short": short.ID} {
		_, err := client.Put(timeout(t), key, "v", clientv3.WithLease(id))
		if err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	s.Kill()
	s.Restart(t)
	client = httpClient(t, s)
	ttl, err := client.TimeToLive(timeout(t), long.ID,
		clientv3.WithAttachedKeys())
	if err != nil || ttl.GrantedTTL != 1000 || ttl.TTL < 900 ||
		ttl.TTL > 1001 || len(ttl.Keys) != 1 || string(ttl.Keys[0]) != "long" {
		t.Errorf("after the restart: %+v, %v", ttl, err)
	}
	if !harness.Eventually(10*time.Second, func() bool {
		got, err := client.Get(timeout(t), "short")
		return err == nil && len(got.Kvs) == 0
	}) {
		t.Error("the short lease doesn't expire after the restart")
	}
	got, err := client.Get(timeout(t), "long")
	if err != nil || len(got.Kvs) != 1 ||
		got.Kvs[0].Lease != int64(long.ID) {
		t.Errorf("the key of the long lease: %v, %v", got, err)
	}
}

func testPeriodicCompaction(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{
		"--auto-compaction-mode", "periodic", "--auto-compaction-retention",
		"1s"}})
	client := httpClient(t, s)
	for i := range 5 {
		_, err := client.Put(timeout(t), "k", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
	}
	if !harness.Eventually(15*time.Second, func() bool {
		_, err := client.Get(timeout(t), "k", clientv3.WithRev(3))
		return errors.Is(err, rpctypes.ErrCompacted)
	}) {
		t.Error("nothing was compacted in 15 s")
	}
	got, err := client.Get(timeout(t), "k")
	if err != nil || string(got.Kvs[0].Value) != "4" {
		t.Errorf("the newest revision: %v, %v", got, err)
	}
}

func testProgressInterval(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{
		"--watch-progress-notify-interval", "200ms"}})
	client := httpClient(t, s)
	watch := client.Watch(timeout(t), "k", clientv3.WithProgressNotify())
	for range 3 {
		select {
		case response := <-watch:
			if !response.IsProgressNotify() || response.Header.Revision != 1 {
				t.Errorf("not a progress notification: %+v", response)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no progress notification in 5 s")
		}
	}
}
