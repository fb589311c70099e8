// Package harness starts, stops, kills and restarts server processes for the
// black-box tests: the chorad under test, and the real etcd beside it.
package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options says how a server process differs from the default one.
type Options struct {
	Binary  string        // default: the server under test
	DataDir string        // default: a fresh temporary directory
	Args    []string      // appended to the flags that the harness gives
	Env     []string      // appended to an environment without ETCD_*
	Bare    bool          // give no flags but Args
	Name    string        // default: "default"
	Ready   time.Duration // how long to wait for readiness, default 20 s
	// HTTPURL is polled for readiness; default the client URL.
	HTTPURL string
	// Host is the address that it listens on, default 127.0.0.1; Wrap is put
	// before the command, to run it in a place of its own. It has to become
	// the server, not to start it: signals go to its process.
	Host string
	Wrap []string
}

// Server is one server process together with its ports and directory. The
// ports and the directory stay the same over Kill and Restart.
type Server struct {
	Binary    string
	DataDir   string
	ClientURL string
	PeerURL   string
	Endpoint  string // host:port of ClientURL
	Name      string
	LogPath   string
	// Cluster is the value of --initial-cluster, default this member alone;
	// Existing says that the member joins one that is there.
	Cluster  string
	Existing bool

	t    testing.TB
	opts Options

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has been waited for
	err    error         // what Wait returned
}

// Start runs a server and waits until it answers; a failure ends the test.
// The process ends with the test at the latest.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := New(t, opts)
	if err := s.Run(); err != nil {
		t.Fatalf("start %s: %v\n%s", s.Binary, err, s.LogTail(30))
	}
	return s
}

// New chooses ports and a directory without starting anything.
func New(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Binary == "" {
		opts.Binary = Chorad(t)
	}
	if opts.DataDir == "" {
		opts.DataDir = filepath.Join(TempDir(t), "data")
	}
	if opts.Ready == 0 {
		opts.Ready = 20 * time.Second
	}
	if opts.Name == "" {
		opts.Name = "default"
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	ports := FreePorts(t, 2)
	s := &Server{
		Name:      opts.Name,
		Binary:    opts.Binary,
		DataDir:   opts.DataDir,
		Endpoint:  fmt.Sprintf("%s:%d", opts.Host, ports[0]),
		ClientURL: fmt.Sprintf("http://%s:%d", opts.Host, ports[0]),
		PeerURL:   fmt.Sprintf("http://%s:%d", opts.Host, ports[1]),
		LogPath:   filepath.Join(TempDir(t), "server.log"),
		t:         t,
		opts:      opts,
	}
	s.Cluster = s.Name + "=" + s.PeerURL
	t.Cleanup(s.end)
	return s
}

// end ends the process with the test. A build with sanitizers is ended in the
// gentle way, so that it reports what it has leaked.
func (s *Server) end() {
	if Sanitized() && s.Pid() != 0 && s.Alive() {
		_, _ = s.Stop(syscall.SIGTERM, 30*time.Second)
	}
	s.Kill()
	for _, report := range []string{"ERROR: AddressSanitizer",
		"ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
		"runtime error: "} {
		log := s.Log()
		if i := strings.Index(log, report); i >= 0 {
			s.t.Errorf("%s:\n%.4000s", s.Binary, log[i:])
		}
	}
	if s.t.Failed() && s.Log() != "" {
		s.t.Logf("last log lines of %s:\n%s", s.Binary, s.LogTail(6))
	}
}

// Flags are the flags every server gets: its name, directory and URLs.
func (s *Server) Flags() []string {
	if s.opts.Bare {
		return nil
	}
	state := "new"
	if s.Existing {
		state = "existing"
	}
	return []string{
		"--name", s.Name,
		"--data-dir", s.DataDir,
		"--listen-client-urls", s.ClientURL,
		"--advertise-client-urls", s.ClientURL,
		"--listen-peer-urls", s.PeerURL,
		"--initial-advertise-peer-urls", s.PeerURL,
		"--initial-cluster", s.Cluster,
		"--initial-cluster-state", state,
	}
}

// Run starts the process and waits until it answers.
func (s *Server) Run() error {
	if err := s.Launch(); err != nil {
		return err
	}
	return s.WaitReady()
}

// Launch starts the process without waiting for it to answer.
func (s *Server) Launch() error {
	log, err := os.OpenFile(s.LogPath,
		os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	words := append(append(append([]string{}, s.opts.Wrap...), s.Binary),
		append(s.Flags(), s.opts.Args...)...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cleanEnv(), s.opts.Env...)
	cmd.Dir = filepath.Dir(s.LogPath)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		close(exited)
	}()
	return nil
}

// WaitReady waits until /health says that the server takes requests.
func (s *Server) WaitReady() error {
	url := s.opts.HTTPURL
	if url == "" {
		url = s.ClientURL
	}
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(s.opts.Ready)
	last := errors.New("no answer")
	for time.Now().Before(deadline) {
		select {
		case <-s.Exited():
			return fmt.Errorf("the process ended: %v", s.ExitError())
		default:
		}
		resp, err := client.Get(url + "/health?exclude=NOSPACE&exclude=CORRUPT")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		last = err
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("not ready after %v: %v", s.opts.Ready, last)
}

// Exited is closed once the process has ended.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exited == nil {
		never := make(chan struct{})
		close(never)
		return never
	}
	return s.exited
}

// ExitError is what waiting for the process gave; nil means exit code 0.
func (s *Server) ExitError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Alive says whether the process still runs.
func (s *Server) Alive() bool {
	select {
	case <-s.Exited():
		return false
	default:
		return true
	}
}

// Pid is the process id of the running or last process.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Signal sends a signal to the running process.
func (s *Server) Signal(sig os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Signal(sig)
}

// Kill ends the process with SIGKILL and waits for it; no-op when it is gone.
func (s *Server) Kill() {
	if s.Pid() == 0 || !s.Alive() {
		return
	}
	_ = s.Signal(syscall.SIGKILL)
	<-s.Exited()
}

// Stop sends SIGTERM, waits at most limit and gives the time it took and the
// wait error; a process that doesn't end by then is killed.
func (s *Server) Stop(sig os.Signal, limit time.Duration) (time.Duration, error) {
	begin := time.Now()
	if err := s.Signal(sig); err != nil {
		return 0, err
	}
	select {
	case <-s.Exited():
		return time.Since(begin), s.ExitError()
	case <-time.After(limit):
		s.Kill()
		return time.Since(begin), fmt.Errorf("still running after %v", limit)
	}
}

// Restart runs the process again on the same ports and directory.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.Run(); err != nil {
		t.Fatalf("restart %s: %v\n%s", s.Binary, err, s.LogTail(30))
	}
}

// SetBinary lets another program go on with ports and directory at the next
// start.
func (s *Server) SetBinary(binary string) { s.Binary = binary }

// SetArgs changes the extra flags for the next start.
func (s *Server) SetArgs(args ...string) { s.opts.Args = args }

// SetEnv changes the extra environment for the next start.
func (s *Server) SetEnv(env ...string) { s.opts.Env = env }

// Log is all that the server has printed so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.LogPath)
	return string(text)
}

// LogTail is the last n lines of the log, each cut to a readable length.
func (s *Server) LogTail(n int) string {
	var lines []string
	scanner := bufio.NewScanner(strings.NewReader(s.Log()))
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if strings.Contains(line, `"msg":"trace"`) {
			continue
		}
		if len(line) > 250 {
			line = line[:250] + "..."
		}
		lines = append(lines, line)
	}
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// WaitLog waits until the log contains text.
func (s *Server) WaitLog(text string, limit time.Duration) bool {
	return Eventually(limit, func() bool {
		return strings.Contains(s.Log(), text)
	})
}

// RSS is the resident memory of the process in bytes.
func (s *Server) RSS() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 &&
			fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// CPU is the processor time that the process has used, in steps of 10 ms.
func (s *Server) CPU() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndex(string(text),
		")")+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// IsChorad tells the server under test from the real etcd, for the checks in
// which the two differ rightly.
func (s *Server) IsChorad() bool { return IsChorad(s.Binary) }

var versions sync.Map

// IsChorad says whether the binary calls itself chorad.
func IsChorad(binary string) bool {
	if known, ok := versions.Load(binary); ok {
		return known.(bool)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, binary, "--version").CombinedOutput()
	is := strings.Contains(strings.ToLower(string(out)), "chorad")
	versions.Store(binary, is)
	return is
}

func cleanEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "ETCD_") {
			env = append(env, entry)
		}
	}
	return env
}
