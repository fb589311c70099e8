package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// server is one process under test, alone in its cluster, with a directory of
// its own that goes when it is stopped.
type server struct {
	addr   string // host:port for clients
	dir    string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has been waited for
}

// freePorts finds ports that nobody listens on right now.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// startServer starts binary and waits until it answers a put.
func startServer(ctx context.Context, binary, under string) (*server, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(under, "abuse-")
	if err != nil {
		return nil, err
	}
	s := &server{addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), dir: dir,
		exited: make(chan struct{})}
	client := "http://" + s.addr
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	s.cmd = exec.Command(binary, "--name", "abused",
		"--data-dir", filepath.Join(dir, "data"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "abused="+peer)
	s.cmd.Env = plainEnvironment()
	log, err := os.Create(s.logPath())
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	if err := s.ready(ctx); err != nil {
		err = fmt.Errorf("%s doesn't serve: %w\n%s", binary, err, s.logTail())
		s.stop()
		return nil, err
	}
	return s, nil
}

// plainEnvironment is ours without what would configure a server.
func plainEnvironment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCD_") {
			env = append(env, v)
		}
	}
	return env
}

func (s *server) ready(ctx context.Context) error {
	until := time.Now().Add(20 * time.Second)
	for {
		_, err := visit(ctx, s.addr, time.Second)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case !s.alive():
			return errors.New("it has ended")
		case time.Now().After(until):
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// kill ends the process; stop removes what it has left, too.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

func (s *server) stop() {
	s.kill()
	_ = os.RemoveAll(s.dir)
}

func (s *server) logPath() string { return filepath.Join(s.dir, "log") }

// logTail is the end of what the server has said.
func (s *server) logTail() string {
	log, _ := os.ReadFile(s.logPath())
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}

// memory is the process's anonymous memory in bytes: heap and stacks, without
// mapped files and shared pages. 0 if the process is gone.
func (s *server) memory() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status",
		s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "RssAnon:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
