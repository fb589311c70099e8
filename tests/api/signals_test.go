package api

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// What etcd ends by, and chorad doesn't: SIGHUP, SIGSTKFLT, and the first of
// the real-time signals, which Go's runtime leaves to the C library.
var etcdEndsBy = map[syscall.Signal]bool{syscall.SIGHUP: true,
	syscall.SIGSTKFLT: true, syscall.Signal(34): true}

// TestSignals sends a member all that can be sent to a process.
func TestSignals(t *testing.T) {
	t.Run("served on", testSignalsServedOn)
	t.Run("at once", testSignalsAtOnce)
	t.Run("exit codes", testSignalCodes)
	t.Run("while it starts", testSignalWhileStarting)
	t.Run("again", testSignalsAgain)
	t.Run("file size", testFileSizeLimit)
}

// wantExit waits for the end of the process and wants it to be such a one.
func wantExit(t *testing.T, s *harness.Server, code int,
	by syscall.Signal) {
	t.Helper()
	select {
	case <-s.Exited():
	case <-time.After(harness.Patience()):
		t.Fatalf("still running\n%s", s.LogTail(5))
	}
	var exit *exec.ExitError
	var status syscall.WaitStatus
	if errors.As(s.ExitError(), &exit) {
		status = exit.Sys().(syscall.WaitStatus)
	} else if err := s.ExitError(); err != nil {
		t.Fatal(err)
	}
	if by != 0 && (!status.Signaled() || status.Signal() != by) ||
		by == 0 && (!status.Exited() || status.ExitStatus() != code) {
		t.Errorf("it ended with %v, wanted exit code %d or signal %d\n%s",
			s.ExitError(), code, int(by), s.LogTail(5))
	}
}

func sendSignal(t *testing.T, s *harness.Server, signal syscall.Signal) {
	t.Helper()
	if err := s.Signal(signal); err != nil {
		t.Fatalf("signal %d: %v", int(signal), err)
	}
}

// testSignalsServedOn sends every signal that isn't a crash and asks for
// nothing, and stops the process for a moment, too.
func testSignalsServedOn(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	others := map[syscall.Signal]bool{
		syscall.SIGINT: true, syscall.SIGTERM: true, syscall.SIGQUIT: true,
		syscall.SIGILL: true, syscall.SIGTRAP: true, syscall.SIGABRT: true,
		syscall.SIGBUS: true, syscall.SIGFPE: true, syscall.SIGSEGV: true,
		syscall.SIGSYS: true, syscall.SIGKILL: true,
		32: true, 33: true, // the C library's own
	}
	for signal := syscall.Signal(1); signal <= 64; signal++ {
		if others[signal] || !s.IsChorad() && etcdEndsBy[signal] {
			continue
		}
		sendSignal(t, s, signal)
		// Without effect on one that isn't stopped.
		sendSignal(t, s, syscall.SIGCONT)
		served(t, s)
	}
	if !s.IsChorad() {
		return
	}
	for _, name := range []string{"Hangup", "User defined signal 1",
		"User defined signal 2"} {
		line := `"msg":"ignored a signal","signal":"` + name + `"`
		if n := strings.Count(s.Log(), line); n != 1 {
			t.Errorf("%d lines say that %s was ignored", n, name)
		}
	}
	if n := strings.Count(s.Log(), "ignored a signal"); n != 3 {
		t.Errorf("%d lines tell of ignored signals, wanted 3", n)
	}
}

// testSignalsAtOnce sends what says that the process is at its end: it must
// look so to whoever waits for it.
func testSignalsAtOnce(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) || harness.Sanitized() {
		t.Skip("Go's runtime and sanitizers take these over")
	}
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT,
		syscall.SIGSEGV} {
		s := harness.Start(t, harness.Options{
			Wrap: []string{"prlimit", "--core=0"}})
		sendSignal(t, s, signal)
		wantExit(t, s, 0, signal)
	}
}

// testSignalCodes wants exit code 0 of a member that was asked to stop. etcd
// ends itself by the signal, unless it is process 1.
func testSignalCodes(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := harness.Start(t, harness.Options{})
		sendSignal(t, s, signal)
		if s.IsChorad() {
			wantExit(t, s, 0, 0)
		} else {
			wantExit(t, s, 0, signal)
		}
	}
}

// testSignalWhileStarting stops a member that waits for the answer of one that
// it wants to join.
func testSignalWhileStarting(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := harness.New(t, harness.Options{})
	s.Cluster += ",other=http://" + silent.Addr().String()
	s.Existing = true
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	_ = silent.(*net.TCPListener).SetDeadline(time.Now().Add(
		harness.Patience()))
	asked, err := silent.Accept()
	if err != nil {
		t.Fatalf("it asks nobody: %v\n%s", err, s.LogTail(5))
	}
	defer asked.Close()
	sendSignal(t, s, syscall.SIGUSR1)
	time.Sleep(100 * time.Millisecond)
	if !s.Alive() {
		t.Fatalf("it has ended: %v\n%s", s.ExitError(), s.LogTail(5))
	}
	sendSignal(t, s, syscall.SIGTERM)
	if s.IsChorad() {
		wantExit(t, s, 0, 0)
	} else {
		wantExit(t, s, 0, syscall.SIGTERM)
	}
}

// stayingOn sees that the member goes on with its stop for a while.
func stayingOn(t *testing.T, s *harness.Server, after string) {
	t.Helper()
	select {
	case <-s.Exited():
		t.Fatalf("%s: it ended at once: %v\n%s", after, s.ExitError(),
			s.LogTail(5))
	case <-time.After(300 * time.Millisecond):
	}
}

// testSignalsAgain sends more of them to a leader that can't hand its
// leadership on, as the others stand still. Wrappers pass on what the terminal
// has sent already; only a Ctrl-C a second later asks for haste.
func testSignalsAgain(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("etcd takes no second signal")
	}
	cluster := harness.StartCluster(t, harness.Options{Args: []string{
		"--heartbeat-interval", "500", "--election-timeout", "8000"}},
		"", "", "")
	s := leader(t, cluster)
	for _, other := range cluster.Others(s) {
		sendSignal(t, other, syscall.SIGSTOP)
	}
	sendSignal(t, s, syscall.SIGINT)
	if !s.WaitLog("received signal; shutting down", harness.Patience()) {
		t.Fatal("no line says that it is shutting down")
	}
	sendSignal(t, s, syscall.SIGINT)
	sendSignal(t, s, syscall.SIGTERM)
	stayingOn(t, s, "the same signal again")
	time.Sleep(time.Second)
	sendSignal(t, s, syscall.SIGTERM)
	sendSignal(t, s, syscall.SIGUSR1)
	stayingOn(t, s, "SIGTERM a second later")
	sendSignal(t, s, syscall.SIGINT)
	wantExit(t, s, 128+int(syscall.SIGINT), 0)
	if !strings.Contains(s.Log(), "stopping at once on a second signal") {
		t.Error("no line says why it stopped at once")
	}
}

// testFileSizeLimit wants a limit of file size to be told like an error of the
// disk, at the start and later.
func testFileSizeLimit(t *testing.T) {
	if !harness.IsChorad(harness.Chorad(t)) {
		t.Skip("it is how chorad tells of it")
	}
	s := harness.New(t, harness.Options{
		Wrap: []string{"prlimit", "--fsize=1000000"}})
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	wantExit(t, s, 1, 0)
	if !strings.Contains(s.Log(), "File too large") {
		t.Errorf("the log doesn't say why:\n%s", s.LogTail(5))
	}
}
